"""One request on its way through a service, in plain integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: `Request.first_token_ps` before there is one.
UNSEEN: Final = -1


class Request:
    """One request on its way; times in picoseconds."""

    __slots__ = (
        "arrived_ps",
        "attempts",
        "base",
        "cached",
        "computed",
        "emitted",
        "end",
        "first_token_ps",
        "hashed",
        "held",
        "mark",
        "number",
        "order",
        "output",
        "phase",
        "pieces",
        "preemptions",
        "prefill_started_ps",
        "prompt",
        "receiver",
        "sender",
        "target",
        "tier",
        "token",
    )

    def __init__(
        self,
        number: int,
        arrived_ps: int,
        prompt: int,
        output: int,
        tier: int,
        pieces: Sequence[int] = (),
    ) -> None:
        self.number = number
        self.arrived_ps = arrived_ps
        self.prompt = prompt
        self.output = output
        self.tier = tier
        self.pieces = pieces
        """Names of what the prompt begins with; see `workload.requests.Prefixes`."""
        self.preemptions = 0
        self.attempts = 0
        self.restart()

    def restart(self) -> None:
        """Begin from nothing: no token computed, none emitted."""
        self.prefill_started_ps = UNSEEN
        self.first_token_ps = UNSEEN
        self.emitted = 0
        self.computed = 0
        self.target = self.prompt
        self.order = -1
        self.token = -1
        self.end = -1
        self.base = 0
        self.phase = 0
        self.cached = -1
        """Prompt tokens that were found at the first admission; -1 before."""
        self.sender = -1
        """Slot of the prefill replica that its KV lies on while a decode replica waits for it; -1: none."""
        self.receiver = -1
        """Slot of that decode replica."""
        self.hashed = 0
        """Full blocks that it had computed when it was preempted; 0 once it runs again."""
        self.held = 0
        """Blocks that it had then."""
        self.mark = 0
        """How many blocks the replica has taken when the first of those is taken again."""
