"""Which slot each replica of a service holds, for fleets of either form."""

from __future__ import annotations

from simulator.foundation.names import hint
from simulator.performance.serving import IterationTime
from simulator.serving.crowd import AddReplica


class ReplicaRoll:
    """Slots by replica id.

    Parameters
    ----------
    service
        Whose replicas, for messages.
    groups
        Attention groups of each replica. [count]
    """

    def __init__(self, service: str, groups: int = 1) -> None:
        self._service = service
        self._groups = groups
        self._slot: dict[int, int] = {}

    def find(self, replica_id: int) -> int:
        """Return the slot of a replica; ValueError with what is known if there is none."""
        slot = self._slot.get(replica_id)
        if slot is None:
            known = hint(str(replica_id), [str(other) for other in self._slot])
            raise ValueError(f"service {self._service}: no replica {replica_id}\n    {known}")
        return slot

    def check_new(self, command: AddReplica, token_budget: int) -> None:
        """Refuse a replica that is there already, or whose profile is not of such a one; ValueError."""
        if command.replica_id in self._slot:
            raise ValueError(f"service {self._service}: replica {command.replica_id} is there already")
        iteration, groups = command.profile.iteration, self._groups
        if iteration.most_tokens < groups * token_budget:
            of_all = f" over {groups} groups" if groups > 1 else ""
            raise ValueError(
                f"service {self._service}: the profile knows iterations of up to {iteration.most_tokens} "
                f"tokens, the token budget is {groups * token_budget}{of_all}"
            )
        known = iteration.attention_groups if isinstance(iteration, IterationTime) else 1
        if known != groups or command.gpus % groups:
            raise ValueError(
                f"service {self._service}: {groups} attention groups on {command.gpus} GPUs, but the "
                f"profile is of {known}"
            )

    def enter(self, replica_id: int, slot: int) -> None:
        """Note a replica's slot."""
        self._slot[replica_id] = slot

    def strike(self, replica_id: int) -> None:
        """Forget a replica."""
        del self._slot[replica_id]
