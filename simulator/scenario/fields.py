"""How one value of a scenario is read: texts with units, counts, words, moments, files.

A scenario file's values arrive as text and are read by what the field asks for; a number
arrives only from a resolved scenario (`run.json`), where it is already in base units.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from simulator.foundation import units
from simulator.foundation.documents import plain
from simulator.foundation.errors import UnitError
from simulator.foundation.names import hint as nearest_hint
from simulator.foundation.names import known_list
from simulator.scenario.said import SaidMap, node_of_said

if TYPE_CHECKING:
    from pydantic_core.core_schema import CoreSchema, ValidationInfo

JsonSchema = dict[str, Any]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*")

#: No span is longer: the clock counts its ticks exactly for 272 years, and the books are hourly.
LONGEST_S: Final = 100 * units.YEAR_S


def mistake(said: str, hint: str = "") -> PydanticCustomError:
    """Return the error that a validator raises: what was said, then what would be right."""
    return PydanticCustomError("mistake", "{said}", {"said": said, "hint": hint})


def unknown_word(word: str, known: list[str], what: str = "name") -> PydanticCustomError:
    """Return the error for a word that is not one of those known."""
    return mistake(f"unknown {what} {word!r}", nearest_hint(word, known, limit=24))


@dataclass(frozen=True)
class Measure:
    """Reads a number with a unit into base units; bounds are in base units.

    Parameters
    ----------
    unit
        Base unit of the field, as `foundation.units` names it; "" for counts and ratios.
    low, high
        Smallest and largest value allowed, in base units.
    above
        The value must lie strictly above `low`.
    whole
        Only whole numbers.
    words
        The text may end in one of these, which changes nothing ("GPUs on average").
    """

    unit: str
    low: float = 0.0
    high: float = math.inf
    above: bool = False
    whole: bool = False
    words: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read with `self.read`; the type named in the annotation is for people and mypy."""
        return core_schema.with_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        """Describe the text that is expected."""
        if self.unit in {"", "fraction", "ratio"}:
            kinds = ["integer", "string"] if self.whole else ["number", "string"]
            return {"type": kinds, "unit": self.unit or "count"}
        return {"type": "string", "unit": self.unit, "pattern": r"^\s*[-+]?[0-9.]"}

    def _validate(self, said: Any, info: ValidationInfo) -> float | int:
        return self.read(said)

    def read(self, said: Any) -> float | int:
        """Return the value in base units, refusing what is not a number within the bounds."""
        value = self._number(said)
        if not math.isfinite(value):
            raise mistake(f"{said!r}: must be a finite number")
        if self.whole and value != int(value):
            raise mistake(f"{said!r}: must be a whole number")
        if value < self.low or (self.above and value == self.low):
            word = "above" if self.above else "at least"
            raise mistake(f"{said!r}: must be {word} {self._bound(self.low)}")
        if value > self.high:
            raise mistake(f"{said!r}: must be at most {self._bound(self.high)}")
        if self.unit == "s" and value > LONGEST_S:
            raise mistake(_too_long(said))
        return int(value) if self.whole else value

    def _number(self, said: Any) -> float:
        if isinstance(said, bool) or not isinstance(said, str | int | float):
            raise mistake(f"expected {self._wanted()}, got {shape(said)}")
        if not isinstance(said, str):
            return float(said)
        text = str(said).strip()
        for words in self.words:
            text = text.removesuffix(words).rstrip()
        try:
            return units.parse(text, self.unit)
        except UnitError as error:
            raise mistake(str(error)) from None

    def _wanted(self) -> str:
        if self.whole:
            return "a whole number"
        return f"a number with a unit of {self.unit}" if self.unit else "a number"

    def _bound(self, bound: float) -> str:
        return f"{bound:g} {self.unit}".strip()


def _too_long(said: Any) -> str:
    return f"{said!r}: longer than {LONGEST_S / units.YEAR_S:g} yr, further than a run can reach"


def shape(said: Any) -> str:
    """Return how a value looks, for an error message."""
    if said is None:
        return "nothing"
    if isinstance(said, Mapping):
        return "a mapping"
    if isinstance(said, list | tuple):
        return "a list"
    return repr(said if not isinstance(said, str) else str(said))


@dataclass(frozen=True)
class Text:
    """Reads one piece of text; with `pattern`, one that may stand in a dotted key."""

    is_name: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read with `self.read`."""
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        """Text."""
        described: JsonSchema = {"type": "string"}
        if self.is_name:
            described["pattern"] = f"^{_NAME.pattern}$"
        return described

    def read(self, said: Any) -> str:
        """Return the text, refusing structures and emptiness."""
        if not isinstance(said, str):
            raise mistake(f"expected text, got {shape(said)}")
        text = str(said)
        if not text.strip():
            raise mistake("expected text, got an empty one")
        if self.is_name and (_NAME.fullmatch(text) is None or text.isdigit()):
            raise mistake(
                f"{text!r}: a name is letters, digits, '-', '_' and '+', starts with a letter "
                "or digit and is not only digits (it is used in dotted keys)"
            )
        return text


class OneOf:
    """Reads one of the words of a `Literal`, naming the nearest when it is another."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check against the words of the annotated `Literal`."""
        words = [str(word) for word in get_args(source)]

        def read(said: Any) -> str:
            if not isinstance(said, str):
                raise mistake(f"expected one of {known_list(words)}, got {shape(said)}")
            if str(said) not in words:
                raise unknown_word(str(said), words)
            return str(said)

        return core_schema.no_info_wrap_validator_function(
            lambda said, _: read(said), core_schema.literal_schema(words)
        )


class Flag:
    """Reads true or false."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read with `self.read`."""
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        """Boolean."""
        return {"type": "boolean"}

    @staticmethod
    def read(said: Any) -> bool:
        """Return the truth value; only the two YAML 1.2 words are known."""
        if isinstance(said, bool):
            return said
        if isinstance(said, str) and said in {"true", "false"}:
            return said == "true"
        raise mistake(f"expected true or false, got {shape(said)}")


class Ratio:
    """Reads an oversubscription such as "1:7" (seven offered to one carried) as 7.0."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read with `self.read`."""
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        """Text like 1:1."""
        return {"type": "string", "pattern": r"^\s*[0-9.]+\s*:\s*[0-9.]+\s*$"}

    @staticmethod
    def read(said: Any) -> float:
        """Return the larger side over the smaller one."""
        if isinstance(said, int | float) and not isinstance(said, bool):
            return float(said)
        hint = 'write it as "1:1" (no oversubscription) or "1:7"'
        if not isinstance(said, str):
            raise mistake(f"expected a ratio, got {shape(said)}", hint)
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*:\s*([0-9]+(?:\.[0-9]+)?)", said.strip())
        sides = [float(side) for side in match.groups()] if match else []
        if not sides or min(sides) <= 0 or not math.isfinite(max(sides)):
            raise mistake(f"{str(said)!r}: not a ratio", hint)
        return max(sides) / min(sides)


class Moment:
    """Reads a moment as seconds since the start: a date of the site's clock, or a span."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read with the calendar that the reader put into the context."""
        return core_schema.with_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        """Text."""
        return {
            "type": "string",
            "description": "A date and time, or a span since the start.",
            "examples": ["2024-03-04 06:00", "2 d"],
        }

    @staticmethod
    def read(said: Any, info: ValidationInfo) -> float:
        """Return seconds since the start of the run."""
        if isinstance(said, int | float) and not isinstance(said, bool):
            if not math.isfinite(said):
                raise mistake(f"{said!r}: must be a finite number")
            return float(said)
        hint = "write 2024-03-04 06:00 (the scenario's clock), 2024-03-04T05:00Z, or 36 h"
        if not isinstance(said, str):
            raise mistake(f"expected a moment, got {shape(said)}", hint)
        calendar = info.context.calendar if info.context is not None else None
        if calendar is None:
            return 0.0  # the start itself is wrong, which is reported on its own
        try:
            moment_s = float(calendar.parse_moment(str(said)))
        except UnitError as error:
            raise mistake(str(error), hint) from None
        if moment_s > LONGEST_S:
            raise mistake(_too_long(said), hint)
        return moment_s


class File:
    """Reads the path of a file, relative to the file that names it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read with `self.read`."""
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        """Text."""
        return {"type": "string", "description": "A path, relative to this file."}

    @staticmethod
    def read(said: Any) -> str:
        """Return the absolute path; whether the file can be read is checked later."""
        text = Text().read(said)
        folder: Path | None = getattr(said, "folder", None)
        path = Path(text).expanduser()
        if "\0" in text:
            raise mistake(f"{text!r}: not a path")
        return str(path if folder is None else os.path.abspath(folder / path))


class Horizon:
    """Reads a duration, or `until done` as None."""

    words: ClassVar[str] = "until done"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read with `self.read`."""
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        """Text."""
        return {"type": "string", "unit": "s", "examples": ["14 d", self.words]}

    @classmethod
    def read(cls, said: Any) -> float | None:
        """Return seconds, or None for a run to the last completion."""
        if said is None or (isinstance(said, str) and " ".join(said.split()) == cls.words):
            return None
        return Measure("s", above=True).read(said)


class CatalogBlock:
    """Keeps the `catalog:` block as it was written, for the catalog to read."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read with `self.read`."""
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        """Kinds of entries."""
        return {"type": "object", "description": "KIND: {NAME: {FIELD: VALUE}}, as in the catalog."}

    @staticmethod
    def read(said: Any) -> Mapping[str, Any]:
        """Return the mapping as plain values."""
        if not isinstance(said, Mapping):
            raise mistake(f"expected a mapping, got {shape(said)}", "KIND: {NAME: {FIELD: VALUE}}")
        return plain(node_of_said(said)) if isinstance(said, SaidMap) else said


#: Everything that reads one value.
READERS: Final = (Measure, Text, OneOf, Flag, Ratio, Moment, File, Horizon, CatalogBlock)

Name = Annotated[str, Text(is_name=True)]
Words = Annotated[str, Text()]
Truth = Annotated[bool, Flag()]
FilePath = Annotated[str, File()]
Instant = Annotated[float, Moment()]
HorizonSpan = Annotated[float | None, Horizon()]
Block = Annotated[Mapping[str, Any], CatalogBlock()]
Oversubscription = Annotated[float, Ratio()]

Count = Annotated[int, Measure("", low=1, whole=True)]
Whole = Annotated[int, Measure("", whole=True)]
Amount = Annotated[float, Measure("", above=True)]
Factor = Annotated[float, Measure("")]
Share = Annotated[float, Measure("fraction", high=1.0)]
PositiveShare = Annotated[float, Measure("fraction", above=True, high=1.0)]
Load = Annotated[float, Measure("", above=True, words=("GPUs on average", "GPUs"))]
Span = Annotated[float, Measure("s")]
Duration = Annotated[float, Measure("s", above=True)]
Power = Annotated[float, Measure("W")]
PositivePower = Annotated[float, Measure("W", above=True)]
Energy = Annotated[float, Measure("J", above=True)]
Bytes = Annotated[float, Measure("bytes", above=True)]
Bandwidth = Annotated[float, Measure("bytes/s", above=True)]
Temperature = Annotated[float, Measure("C", low=-90.0, high=200.0)]
Intensity = Annotated[float, Measure("g/kWh")]
EnergyPrice = Annotated[float, Measure("USD/kWh", low=-math.inf)]
DemandPrice = Annotated[float, Measure("USD/kW-month")]
BuildingPrice = Annotated[float, Measure("USD/W")]
CarbonPrice = Annotated[float, Measure("USD/t")]
WaterPrice = Annotated[float, Measure("USD/litre")]
Money = Annotated[float, Measure("USD")]
Rate = Annotated[float, Measure("1/s", above=True)]
