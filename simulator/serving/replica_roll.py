"""Which slot each replica of a service holds, for fleets of either form."""

from __future__ import annotations

from simulator.foundation.names import hint


class ReplicaRoll:
    """Slots by replica id."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._slot: dict[int, int] = {}

    def find(self, replica_id: int) -> int:
        """Return the slot of a replica; ValueError with what is known if there is none."""
        slot = self._slot.get(replica_id)
        if slot is None:
            known = hint(str(replica_id), [str(other) for other in self._slot])
            raise ValueError(f"service {self._service}: no replica {replica_id}\n    {known}")
        return slot

    def check_new(self, replica_id: int, widest_tokens: int, budget_tokens: int, of_all: str = "") -> None:
        """Refuse a replica that is there already, or whose profile is too narrow; ValueError."""
        if replica_id in self._slot:
            raise ValueError(f"service {self._service}: replica {replica_id} is there already")
        if widest_tokens < budget_tokens:
            raise ValueError(
                f"service {self._service}: the profile knows iterations of up to {widest_tokens} tokens, "
                f"the token budget is {budget_tokens}{of_all}"
            )

    def enter(self, replica_id: int, slot: int) -> None:
        """Note a replica's slot."""
        self._slot[replica_id] = slot

    def strike(self, replica_id: int) -> None:
        """Forget a replica."""
        del self._slot[replica_id]
