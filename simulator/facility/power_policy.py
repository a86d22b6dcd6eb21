"""What a site's power policy is: it sees the site and its calls, and answers with decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from simulator.decisions import Decision, PowerView


class PowerPolicy(Protocol):
    """A frozen dataclass, one file and one row in `POWER_POLICIES`.

    The engine asks at the run's start; when a call is announced, begins or ends; in a call, and
    while storage charges below a limit, whenever a job or the air changes; when storage is full
    or empty; and at every time the policy asked for by `Wake`. What was decided for an instant
    has acted before the policy is asked in it.
    """

    def decide(self, view: PowerView) -> Sequence[Decision]:
        """Return decisions; the same view gives the same answer.

        Power is consumption positive; storage charging positive, discharging negative.
        """
