"""What a site's power policy is: it sees the site and its calls, and answers with decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from simulator.decisions import Decision, PowerView


class PowerPolicy(Protocol):
    """A frozen dataclass, one file and one row in `POWER_POLICIES`.

    The engine asks when a call is announced, begins or ends, when storage is full or empty,
    when power rises above the limit, and at every time the policy asked for by `Wake`.
    """

    def decide(self, view: PowerView) -> Sequence[Decision]:
        """Return decisions; the same view gives the same answer.

        Power is consumption positive; storage charging positive, discharging negative.
        """
