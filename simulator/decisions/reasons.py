"""Why not: the closed list of reasons, and the three answers of an admission gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from simulator.telemetry.tables import WAIT_REASONS

CAPACITY: Final = "capacity"
FRAGMENTATION: Final = "fragmentation"
BEHIND: Final = "behind"
RESERVED: Final = "reserved"
CARBON_HOLD: Final = "carbon-hold"
PRICE_HOLD: Final = "price-hold"
POWER_CAP: Final = "power-cap"
QUOTA: Final = "quota"
DECISION_HOLD: Final = "decision-hold"
NO_SUCH_GPU: Final = "no-such-gpu"
DOWN: Final = "down"
MOVING: Final = "moving"

#: Reason -> the code stored in the `waits` table.
CODE: Final[dict[str, int]] = {reason: code for code, reason in enumerate(WAIT_REASONS)}


#: How people are told a reason whose name alone does not say it.
SAID: Final[dict[str, str]] = {BEHIND: "behind the head of the queue", NO_SUCH_GPU: "no such GPU"}


@dataclass(frozen=True, slots=True)
class Yes:
    """The job may be examined for a start."""


@dataclass(frozen=True, slots=True)
class No:
    """The job may not start now; ask again at the next pass."""

    reason: str


@dataclass(frozen=True, slots=True)
class RetryAt:
    """The job may not start before `at_s`; it leaves the scanned queue until then."""

    at_s: float
    reason: str


Admission = Yes | No | RetryAt

#: The one Yes.
YES: Final = Yes()
