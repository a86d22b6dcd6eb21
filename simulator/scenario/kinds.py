"""One of several mappings, told apart by a word in it: `kind: training`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pydantic import GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from simulator.foundation.names import nearest
from simulator.scenario.branch import Branch
from simulator.scenario.fields import mistake, shape, unknown_word

if TYPE_CHECKING:
    from pydantic_core.core_schema import CoreSchema, ValidationInfo, ValidatorFunctionWrapHandler


@dataclass(frozen=True)
class ByKind:
    """Picks the member of a union whose `key` field has the word that the mapping says."""

    key: str = "kind"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Dispatch on the word; the union itself is kept for the JSON Schema."""
        table: dict[str, type[Branch]] = {}
        for member in get_args(source):
            for word in get_args(member.model_fields[self.key].annotation):
                table[word] = member

        def read(said: Any, _: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Branch:
            if isinstance(said, Branch):
                return said
            if not isinstance(said, Mapping):
                raise mistake(
                    f"expected a mapping, got {shape(said)}", f"with {self.key}: {', '.join(table)}"
                )
            word = said.get(self.key)
            if not isinstance(word, str):
                raise no_word(self.key, word, said, list(table))
            if str(word) not in table:
                raise unknown_word(str(word), list(table), self.key)
            return read_branch(table[str(word)], said, info)

        return core_schema.with_info_wrap_validator_function(read, handler(source))


def read_branch(model: type[Branch], said: Any, info: ValidationInfo) -> Branch:
    """Validate with the same context, by YAML key or by attribute name as the caller was."""
    by_name = bool(info.context is not None and info.context.by_name)
    return model.model_validate(said, context=info.context, by_alias=not by_name, by_name=by_name)


def no_word(key: str, word: Any, said: Mapping[str, Any], known: list[str]) -> PydanticCustomError:
    """Return the error for a mapping that does not say which of several things it is."""
    listed = f"known: {', '.join(known)}"
    if word is not None:
        return mistake(f"'{key}' must be a word, got {shape(word)}", listed)
    near = nearest(key, said)
    instead = f" ({near!r} is not it)" if near is not None else ""
    return mistake(f"'{key}' is missing: it says what this is{instead}", listed)
