"""One mapping of a scenario: frozen, no unknown keys, attribute names with units."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from simulator.foundation.plugins import yaml_key
from simulator.scenario.fields import READERS, mistake, shape, unknown_word
from simulator.scenario.said import PLAIN


class Branch(BaseModel):
    """Base of every mapping: ``duration_s`` in Python is ``duration`` in YAML.

    A subclass may set `short`, the attribute that a plain text stands for, so that
    ``grid: DE`` means ``grid: {name: DE}``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=yaml_key, validate_by_name=False)

    short: ClassVar[str] = ""

    @classmethod
    def keys(cls) -> dict[str, str]:
        """Return YAML keys and the attributes that they fill."""
        return {field.alias or name: name for name, field in cls.model_fields.items()}

    @classmethod
    def expand(cls, said: str) -> Mapping[str, Any]:
        """Return the mapping that a text stands for, keyed by attribute and by key."""
        return {cls.model_fields[cls.short].alias or cls.short: said}

    @classmethod
    def reader(cls, name: str) -> Any:
        """Return what reads an attribute: a `Measure`, `File`, `Text` ...; None for a mapping."""
        return _reader_of(cls, name)

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, said: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(said, cls):
            return said
        if isinstance(said, str) and cls.short:
            said = cls.expand(said)
        if isinstance(said, Mapping) and PLAIN in said:
            said = cls._joined(said)
        if not isinstance(said, Mapping):
            known = ", ".join(cls.keys())
            raise mistake(f"expected a mapping, got {shape(said)}", f"its keys: {known}")
        try:
            return handler(said)
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                cls.__name__, [cls._explain(line) for line in error.errors(include_url=False)]
            ) from None

    @classmethod
    def _joined(cls, said: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a mapping that began as a plain text and got keys from the command line."""
        if not cls.short:
            raise mistake(f"expected a mapping, got {shape(said[PLAIN])}")
        rest = {key: value for key, value in said.items() if key != PLAIN}
        return {**cls.expand(said[PLAIN]), **rest}

    @classmethod
    def _explain(cls, line: Any) -> InitErrorDetails:
        """Say a pydantic error in our words; what came from below is passed on."""
        kind, loc, said = line["type"], line["loc"], line["input"]
        reason = PydanticCustomError(kind, "{said}", {"said": line["msg"], "hint": ""})
        if kind in {"mistake", "unknown_key"}:
            reason = PydanticCustomError(kind, "{said}", line["ctx"])
        elif kind == "extra_forbidden" and len(loc) == 1:
            reason = PydanticCustomError(
                "unknown_key", "{said}", unknown_word(str(loc[0]), list(cls.keys()), "key").context
            )
        elif kind == "missing" and len(loc) == 1:
            reason = mistake("missing: this key is required", cls._meaning(str(loc[0])))
        elif kind == "tuple_type":
            reason = mistake(f"expected a list, got {shape(said)}")
        elif kind == "dict_type":
            reason = mistake(f"expected a mapping, got {shape(said)}")
        return InitErrorDetails(type=reason, loc=loc, input=said)

    @classmethod
    def _meaning(cls, key: str) -> str:
        name = cls.keys().get(key, key)
        field = cls.model_fields.get(name)
        return field.description or "" if field is not None else ""


@cache
def _reader_of(model: type[Branch], name: str) -> Any:
    """Return the reader among an attribute's annotations."""
    field = model.model_fields[name]
    own = [item for item in field.metadata if isinstance(item, READERS)]
    return own[0] if own else _reader_in(field.annotation)


def _reader_in(annotation: Any) -> Any:
    """Return the reader of an annotation, of what a union allows, or of a container's values."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        own = [item for item in arguments[1:] if isinstance(item, READERS)]
        return own[0] if own else _reader_in(arguments[0])
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return _reader_in(arguments[1])
    found = [_reader_in(argument) for argument in arguments]
    return next((item for item in found if item is not None), None)
