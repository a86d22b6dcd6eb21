"""The first moment of a run: a date and time on the clock of an IANA zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema
from pydantic_core.core_schema import CoreSchema

from simulator.foundation.calendar import Calendar
from simulator.foundation.errors import UnitError
from simulator.scenario.fields import mistake, shape

#: Z, +01:00 or an IANA name; a calendar would read a moment without one as UTC, which few mean.
_ENDS_IN_ZONE: Final = re.compile(r"(?:Z|[+-]\d{2}:?\d{2}|[A-Za-z][A-Za-z0-9_+/-]*)$", re.ASCII)
#: First and last year of a start; far from where calendars and time zones end.
_YEARS: Final = (1900, 2200)
_HINT: Final = "write date, time and zone: 2024-03-04 00:00 Europe/Berlin, or 2024-03-04T00:00Z"


@dataclass(frozen=True)
class Start:
    """A moment as written, e.g. ``2024-03-04 00:00 Europe/Berlin``."""

    text: str

    @property
    def calendar(self) -> Calendar:
        """The clock that begins at this moment."""
        return Calendar.from_text(self.text)

    @property
    def timezone(self) -> str:
        """IANA zone."""
        return self.calendar.timezone

    @property
    def utc(self) -> datetime:
        """The same moment in UTC."""
        return self.calendar.start_utc


class ReadsStart:
    """Reads the text of a `Start` and checks it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read with `self.read`."""
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Text."""
        return {"type": "string", "examples": ["2024-03-04 00:00 Europe/Berlin"]}

    @staticmethod
    def read(said: Any) -> Start:
        """Return the start, refusing one without a zone."""
        if isinstance(said, Start):
            return said
        if not isinstance(said, str):
            raise mistake(f"expected a moment, got {shape(said)}", _HINT)
        text = " ".join(said.split())
        try:
            calendar = Calendar.from_text(text)
        except UnitError as error:
            raise mistake(str(error), _HINT) from None
        if not _YEARS[0] <= calendar.start_utc.year <= _YEARS[1]:
            raise mistake(f"{text!r}: a run starts between {_YEARS[0]} and {_YEARS[1]}", _HINT)
        if not _ENDS_IN_ZONE.search(text):
            raise mistake(f"{text!r} names no time zone", _HINT)
        return Start(text)


StartMoment = Annotated[Start, ReadsStart()]
