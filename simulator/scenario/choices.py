"""A plug-in chosen by name in the scenario, with the values of its fields."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from simulator.foundation.errors import DatahallError, UnknownNameError
from simulator.foundation.names import hint
from simulator.foundation.plugins import FieldInfo, fields_of, find
from simulator.scenario import seams
from simulator.scenario.fields import mistake, shape
from simulator.scenario.kinds import no_word, read_branch
from simulator.scenario.plugin_schema import branch_of
from simulator.scenario.said import PLAIN

if TYPE_CHECKING:
    from pydantic_core.core_schema import CoreSchema, ValidationInfo


@dataclass(frozen=True)
class Choice:
    """What was chosen: the seam, the plug-in's name, and its fields in base units.

    Parameters
    ----------
    seam
        The table that the name is a row of, e.g. ``policies``.
    name
        What the scenario calls it: a row of the table, or a catalog entry.
    plugin
        The row of the table; `name` unless that is a catalog entry.
    values
        The plug-in's fields, defaults included, by attribute.
    given
        Which of them the scenario wrote down itself.
    """

    seam: str
    name: str
    plugin: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    given: tuple[str, ...] = field(default=(), compare=False)

    @property
    def key(self) -> str:
        """The key that holds the name in YAML."""
        return seams.KEYS[self.seam]

    def fields(self) -> list[tuple[FieldInfo, Any]]:
        """Return the plug-in's fields with their values."""
        cls = _class_of(self.seam, self.plugin or self.name)
        return [(info, self.values[info.name]) for info in fields_of(cls) if info.name in self.values]

    def build(self) -> Any:
        """Return the plug-in itself."""
        return _class_of(self.seam, self.plugin or self.name)(**self.values)


@dataclass(frozen=True)
class Plugin:
    """Reads `easy` or `{policy: easy, ...}` into a `Choice`.

    Parameters
    ----------
    seam
        The table of plug-ins.
    catalog
        Kind of catalog entries that may be named too; "" for none. An entry has a `kind`,
        which is a row of the table, and `parameters`, which stand in for the class's defaults.
    usual
        The row that a mapping without a name means; "" if it must say one.
    """

    seam: str
    catalog: str = ""
    usual: str = ""

    @property
    def key(self) -> str:
        """The key that holds the name in YAML."""
        return seams.KEYS[self.seam]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read with `self.read`."""
        return core_schema.with_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """One form for each plug-in in the table, besides its bare name."""
        forms: list[dict[str, Any]] = [{"type": "string", "description": f"Known: {self._listed()}."}]
        for name, cls in seams.table(self.seam).items():
            form = branch_of(cls).model_json_schema(by_alias=True)
            form["properties"] = {self.key: {"const": name}, **form.get("properties", {})}
            if name != self.usual:
                form["required"] = [self.key, *form.get("required", [])]
            form["title"] = name
            forms.append(form)
        return {"anyOf": forms}

    def read(self, said: Any, info: ValidationInfo) -> Choice:
        """Return the choice, with every field of the plug-in read and checked."""
        if isinstance(said, Choice):
            said = {self.key: said.name}
        if isinstance(said, str):
            said = {self.key: said}
        if isinstance(said, Mapping) and PLAIN in said:
            said = {self.key: said[PLAIN], **{key: said[key] for key in said if key != PLAIN}}
        if not isinstance(said, Mapping):
            raise mistake(f"expected a name or a mapping, got {shape(said)}", f"known: {self._listed()}")
        name = said.get(self.key, self.usual or None)
        if not isinstance(name, str):
            raise no_word(self.key, name, said, list(seams.table(self.seam)))
        name = _absolute(name)
        try:
            plugin, preset = self._look_up(str(name), info)
        except PydanticCustomError as error:
            wrong = InitErrorDetails(type=error, loc=(self.key,), input=name)
            raise ValidationError.from_exception_data(self.seam, [wrong]) from None
        cls = _class_of(self.seam, plugin)
        rest = {key: value for key, value in said.items() if key != self.key}
        branch = read_branch(branch_of(cls, preset), rest, info)
        values = {key: getattr(branch, key) for key in type(branch).model_fields}
        try:
            cls(**values)
        except (ValueError, TypeError) as error:
            raise mistake(str(error)) from None
        given = tuple(sorted(branch.model_fields_set))
        return Choice(self.seam, str(name), plugin, values, given)

    def _look_up(self, name: str, info: ValidationInfo) -> tuple[str, Mapping[str, Any]]:
        """Return the plug-in's own name and the values that a catalog entry gives it."""
        rows = seams.table(self.seam)
        catalog = info.context.catalog if info.context is not None else None
        entries = catalog.names(self.catalog) if self.catalog and catalog is not None else ()
        if catalog is not None and name in entries:
            entry = catalog.get(self.catalog, name)
            return entry.kind, entry.parameters
        try:
            find(rows, name, self.key, seam=self.seam)
        except UnknownNameError as error:
            listed = hint(name, [*entries, *(row for row in rows if row not in entries)])
            raise mistake(error.message, listed if entries else error.hint) from None
        except DatahallError as error:
            raise mistake(str(error)) from None
        return name, {}

    def _listed(self) -> str:
        return ", ".join(seams.table(self.seam))


def _class_of(seam: str, name: str) -> type[Any]:
    """Return the plug-in's class: a row of the table, an entry point, or ``file.py:Class``."""
    return find(seams.table(seam), name, seams.KEYS[seam], seam=seam)


def _absolute(name: str) -> str:
    """Return a plug-in's name; a ``file.py:Class`` begins at the file that names it."""
    file, colon, cls = str(name).rpartition(":")
    folder = getattr(name, "folder", None)
    if not file.endswith(".py") or folder is None:
        return str(name)
    return f"{os.path.abspath(folder / file)}{colon}{cls}"
