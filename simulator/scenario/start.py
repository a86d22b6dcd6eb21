"""The first moment of a run: a date and time on the clock of an IANA zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema
from pydantic_core.core_schema import CoreSchema

from simulator.foundation.names import nearest
from simulator.scenario.fields import mistake, shape

_HINT = "write date, time and zone: 2024-03-04 00:00 Europe/Berlin, or 2024-03-04T00:00Z"


@dataclass(frozen=True)
class Start:
    """A moment as written, e.g. ``2024-03-04 00:00 Europe/Berlin``."""

    text: str

    @property
    def timezone(self) -> str:
        """IANA zone."""
        return "UTC" if self.text.endswith("Z") else self.text.rsplit(" ", 1)[1]

    @cached_property
    def utc(self) -> datetime:
        """The same moment in UTC."""
        clock = self.text.removesuffix("Z") if self.text.endswith("Z") else self.text.rsplit(" ", 1)[0]
        local = datetime.fromisoformat(clock).replace(tzinfo=ZoneInfo(self.timezone))
        return local.astimezone(UTC)


def check_timezone(zone: str) -> None:
    """Refuse a zone that is not in the IANA table, naming the nearest one."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = nearest(zone, sorted(available_timezones()))
        raise mistake(
            f"unknown time zone {zone!r}",
            f"did you mean {near!r}?" if near else "IANA names such as Europe/Berlin or UTC",
        ) from None


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
        """Return the start."""
        if isinstance(said, Start):
            return said
        if not isinstance(said, str):
            raise mistake(f"expected a moment, got {shape(said)}", _HINT)
        text = " ".join(said.split())
        clock, _, zone = text.rpartition(" ") if not text.endswith("Z") else (text[:-1], " ", "UTC")
        if not clock or zone[:1].isdigit():
            raise mistake(f"{text!r}: the time zone is missing", _HINT)
        check_timezone(zone)
        try:
            moment = datetime.fromisoformat(clock)
        except ValueError as error:
            raise mistake(f"{text!r}: not a moment ({error})", _HINT) from None
        if moment.tzinfo is not None:
            raise mistake(f"{text!r}: two time zones", _HINT)
        start = Start(text)
        try:
            _ = start.utc
        except (OverflowError, ValueError) as error:
            raise mistake(f"{text!r}: not a moment ({error})", _HINT) from None
        return start


StartMoment = Annotated[Start, ReadsStart()]
