"""A replica whose attention is copied for several groups of GPUs that share their experts.

Each group has a queue, a batch and KV blocks of its own, but every iteration is one pass of all
of them, because tokens meet in the experts: groups plan at one boundary, and the slowest sets the
pace. A newcomer goes to the group with the least to do and stays there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from simulator.serving.batching import Replica
from simulator.serving.picoseconds import NEVER
from simulator.serving.plan import Planned
from simulator.serving.power_meter import PowerMeter
from simulator.serving.replica_costs import ReplicaCosts
from simulator.serving.request import Request

#: A request that waits weighs as much as so many that run, as in vLLM's coordinator.
_WAITING_WEIGHT = 4


class GroupPower(PowerMeter):
    """What one group draws; the replica's meter integrates the sum."""

    __slots__ = ()

    def __init__(self, since_ps: int) -> None:
        super().__init__(-1, 0, since_ps, 1, [])

    def set(self, at_ps: int, level_mw: int, doing: int) -> None:
        """Hold another power, or do something else, from `at_ps` on."""
        self.level_mw = level_mw
        self.doing = doing


class LockstepReplica(Planned):
    """Groups that advance together, to the crowd one replica; see `batching.Replica`.

    Parameters
    ----------
    make
        Makes a group, with its meter.
    meter
        Of the whole replica.
    """

    def __init__(self, make: Callable[[PowerMeter], Replica], meter: PowerMeter) -> None:
        super().__init__()
        first = make(GroupPower(meter.since_ps))
        self.groups = [first]
        self.groups += [make(GroupPower(meter.since_ps)) for _ in range(first.costs.groups - 1)]
        self.replica_id, self.site, self.role = first.replica_id, first.site, first.role
        self.blocks = first.blocks
        self.meter = meter
        self.costs = first.costs
        self.next_costs: ReplicaCosts | None = None
        self.begun: list[Request] = []
        self.done: list[Request] = []
        self._order = 0
        self._draw(meter.since_ps)

    # what there is to see --------------------------------------------------------------------

    @property
    def empty(self) -> bool:
        """Whether it holds no request at all."""
        return all(group.empty for group in self.groups)

    @property
    def queued(self) -> int:
        """Requests that wait here for an iteration, those left out whose KV is elsewhere."""
        return sum(group.queued for group in self.groups)

    @property
    def waiting_count(self) -> int:
        """Requests in the queues of its groups."""
        return sum(group.waiting_count for group in self.groups)

    @property
    def running(self) -> dict[int, Request]:
        """Requests in batches, by joining number."""
        return _merged(group.running for group in self.groups)

    @property
    def handed(self) -> dict[int, Request]:
        """Prompts that are done and whose blocks wait for the transfer's end, by request number."""
        return _merged(group.handed for group in self.groups)

    @property
    def max_sequences(self) -> int:
        """Most sequences in the batch of a group."""
        return self.groups[0].max_sequences

    @max_sequences.setter
    def max_sequences(self, most: int) -> None:
        for group in self.groups:
            group.max_sequences = most

    def fits(self, prompt_tokens: int, output_tokens: int) -> bool:
        """Return whether a request of this size could run here alone."""
        return self.groups[0].fits(prompt_tokens, output_tokens)

    def remembered(self, request: Request) -> int:
        """Return how many leading blocks a newcomer would find. [blocks]"""
        return self._least_busy().remembered(request)

    @property
    def prefix_tokens(self) -> tuple[int, int]:
        """Tokens that were looked up in KV blocks at admissions, and those found."""
        looked, hit = zip(*(group.prefix_tokens for group in self.groups), strict=True)
        return sum(looked), sum(hit)

    def kv_fraction(self, at_ps: int) -> float:
        """Return the share of blocks in use of the fullest group."""
        return max(group.kv_fraction(at_ps) for group in self.groups)

    def promised(self) -> list[Request]:
        """Return the requests that came or will come here with KV that lies on a prefill replica."""
        return [request for group in self.groups for request in group.promised()]

    def held(self, at_ps: int) -> list[tuple[Request, int]]:
        """Return every request it holds with the tokens emitted by now; see `Replica.held`."""
        found = [entry for group in self.groups for entry in group.held(at_ps)]
        found.sort(key=lambda entry: (entry[0].tier, entry[0].order))
        return found

    # requests --------------------------------------------------------------------------------

    def join(self, request: Request, after_ps: int) -> bool:
        """Queue a request at a group; return whether all were idle or the plan was cut short."""
        group = self._least_busy()
        group.number_from(self._order)
        self._order += 1
        return self._stirred(group, after_ps, stirred=group.join(request, after_ps))

    def land(self, request: Request, after_ps: int) -> bool:
        """Take in the KV of a request that has its blocks; return as `join` does."""
        group = next(group for group in self.groups if request.number in group.loading)
        return self._stirred(group, after_ps, stirred=group.land(request, after_ps))

    def group_of(self, request: Request) -> int:
        """Return which group has read a prompt whose transfer is not over."""
        return next(i for i, group in enumerate(self.groups) if request.number in group.handed)

    def release(self, request: Request) -> None:
        """Free the blocks of a prefilled prompt whose transfer is over."""
        self.groups[self.group_of(request)].release(request)

    def forgo(self, request: Request) -> None:
        """Give up a request whose KV will not come."""
        next(group for group in self.groups if request in group.promised()).forgo(request)

    def _least_busy(self) -> Replica:
        """Return the group that a newcomer goes to, the first of equals."""

        def load(group: Replica) -> int:
            waiting = group.waiting_count + len(group.loading) + len(group.ready)
            return _WAITING_WEIGHT * waiting + len(group.running)

        return min(self.groups, key=load)

    # iterations ------------------------------------------------------------------------------

    def finish(self, at_ps: int) -> None:
        """End the planned iterations of all groups, which must end now."""
        self.iterations += self.steps
        self.leaps += 1
        for group in self.groups:
            if group.plan_end != NEVER:
                group.finish(at_ps)
                self.done += group.done
                group.done.clear()
        self.plan_end = NEVER
        self.boundary = True

    def schedule(self, at_ps: int) -> None:
        """Plan the next iterations of all groups from `at_ps` on, or fall idle."""
        self.boundary = False
        for group in self.groups:
            group.next_costs = self.next_costs
        if self.next_costs is not None:
            self.costs, self.next_costs = self.next_costs, None
        for group in self.groups:
            group.schedule(at_ps)
            self.begun += group.begun
            group.begun.clear()
        busy = [group for group in self.groups if group.plan_end != NEVER]
        if busy:
            self._pace(busy, at_ps)
        else:
            self._rest()
        self._draw(at_ps)

    def _pace(self, busy: list[Replica], at_ps: int) -> None:
        """Let the slowest of the groups that have something to do set the pace of all."""
        tokens = [group.new_tokens for group in busy]
        together = sum(tokens)
        paces = [
            (self.costs.beside_ps(group.first_ps, new, together), group.growth_ps)
            for group, new in zip(busy, tokens, strict=True)
        ]
        first, growth = max(paces)
        steps = min(group.steps for group in busy)
        for other_first, other_growth in paces:
            if other_growth > growth:
                # Its context grows faster: from some step on it is the slowest.
                steps = min(steps, (first - other_first) // (other_growth - growth) + 1)
        self._plan(at_ps, first, growth, steps)
        self._agree()

    def _keep_to(self, steps: int) -> None:
        super()._keep_to(steps)
        self._agree()

    def _agree(self) -> None:
        """Let all groups that have a plan keep to this one."""
        for group in self.groups:
            if group.plan_end != NEVER:
                group.first_ps, group.growth_ps = self.first_ps, self.growth_ps
                group.steps, group.plan_end = self.steps, self.plan_end

    def _stirred(self, group: Replica, after_ps: int, *, stirred: bool) -> bool:
        """Make the replica stand at the first boundary at which a group can go on with something new."""
        if not stirred or self.plan_end == NEVER:
            return stirred
        if group.plan_end == NEVER:
            return self.cut(after_ps)
        self._keep_to(group.steps)
        return True

    def _draw(self, at_ps: int) -> None:
        """Draw what all groups draw; one without requests goes through a pass beside the others.

        It neither idles nor only spins: vLLM makes ranks without requests run an empty forward pass,
        because experts of all ranks meet in every layer (docs.vllm.ai, data parallel deployment).
        """
        level_mw = doing = 0
        for group in self.groups:
            idle = group.plan_end == NEVER and self.plan_end != NEVER
            level_mw += self.costs.decode_mw(1, 0) if idle else group.meter.level_mw
            doing |= group.meter.doing
        self.meter.set(at_ps, level_mw, doing)


def _merged(parts: Iterable[dict[int, Request]]) -> dict[int, Request]:
    return {key: request for part in parts for key, request in part.items()}
