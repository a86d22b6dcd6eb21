"""When a service asks for another number of replicas: rules that the crowd's watch wakes up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

from simulator.decisions import Decision, Scale, ServiceView
from simulator.foundation.quantity import Count, Fraction, Ratio, Seconds
from simulator.serving.crowd import Watch


class Autoscaler(Protocol):
    """Chooses the number of replicas. Stateless: what it must remember comes back in the view."""

    def watch(self, view: ServiceView) -> Watch | None:
        """Return what the crowd should watch for from now on; None: nothing."""
        ...

    def step(self, view: ServiceView) -> Sequence[Decision]:
        """Return what to do at a control instant at which a threshold was crossed."""
        ...


@dataclass(frozen=True)
class NoScaling:
    """As many replicas as the service asks for, always."""

    def watch(self, view: ServiceView) -> Watch | None:
        """Watch nothing."""
        return None

    def step(self, view: ServiceView) -> Sequence[Decision]:
        """Decide nothing."""
        return ()


#: Shortest control period: metrics of a service are not scraped more often. [s]
_SHORTEST_S: Final = 0.1


def _check_period(every_s: float) -> None:
    if not every_s >= _SHORTEST_S:
        raise ValueError(f"every_s {every_s:g} is no control period; expected {_SHORTEST_S:g} s or more")


@dataclass(frozen=True)
class QueueScaler:
    """Add replicas while requests wait or a cache is nearly full, take one away while all are nearly empty.

    Cold starts are slow, so it does not ask again while some replica is still on its way, unless
    that takes longer than `settle_s`.
    """

    every_s: Annotated[Seconds, "Control period; thresholds are looked at this often."] = 60.0
    queue_above: Annotated[Ratio, "More waiting requests than this per ready replica: grow."] = 2.0
    kv_above_fraction: Annotated[
        Fraction, "Some replica uses more of its KV blocks than this: grow by one; 1 never does."
    ] = 1.0
    load_below: Annotated[Ratio, "Fewer requests in flight than this per ready replica: shrink."] = 4.0
    settle_s: Annotated[Seconds, "No shrinking within this time of a change of replicas."] = 600.0
    most_at_once: Annotated[Count, "Most replicas asked for in one step."] = 4

    def __post_init__(self) -> None:
        _check_period(self.every_s)
        if self.queue_above < 0.0 or self.load_below < 0.0 or self.most_at_once < 1:
            raise ValueError(
                f"queue_above {self.queue_above} and load_below {self.load_below} must be 0 or more, "
                f"most_at_once {self.most_at_once} at least 1"
            )

    def watch(self, view: ServiceView) -> Watch | None:
        """Watch the thresholds that could still change something: none at a bound."""
        may_grow = view.replicas_asked < _most(view)
        may_shrink = view.replicas_asked > view.replicas_minimum
        if not (may_grow or may_shrink):
            return None
        return Watch(
            self.every_s,
            queue_above=self.queue_above if may_grow else math.inf,
            # No cache is more than full; a threshold that is never passed costs no look.
            kv_above_fraction=self.kv_above_fraction
            if may_grow and self.kv_above_fraction < 1.0
            else math.inf,
            load_below=self.load_below if may_shrink else 0.0,
        )

    def step(self, view: ServiceView) -> Sequence[Decision]:
        """Grow in proportion to the queue, by one for a full cache; shrink one by one."""
        ready = max(1, view.replicas_ready)
        asked = view.replicas_asked
        full = self.kv_above_fraction < 1.0 and view.kv_fraction > self.kv_above_fraction
        if full or view.queue_length > self.queue_above * view.replicas_ready:
            on_their_way = asked > view.replicas_ready and view.since_change_s < self.settle_s
            if on_their_way:
                return ()
            wanted = math.ceil(view.queue_length / max(self.queue_above, 1.0)) - ready
            more = min(max(wanted, 1), self.most_at_once, _most(view) - asked)
            return (Scale(view.name, view.pool, asked + more),) if more > 0 else ()
        idle = view.queue_length + view.running < self.load_below * ready
        if idle and asked > view.replicas_minimum and view.since_change_s >= self.settle_s:
            return (Scale(view.name, view.pool, asked - 1),)
        return ()


@dataclass(frozen=True)
class ConcurrencyScaler:
    """As many replicas as keep the requests in flight on each near a target, as Kubernetes counts.

    Wanted are requests in flight over the target, rounded up; nothing happens while the load is within
    the tolerance, and replicas go no sooner than `settle_s` after the last change. Defaults are those
    of the HorizontalPodAutoscaler (every 15 s, a tenth, 5 minutes).
    """

    target: Annotated[Ratio, "Requests in flight for each ready replica to come near to."]
    every_s: Annotated[Seconds, "Control period; the load is looked at this often."] = 15.0
    tolerance_fraction: Annotated[Fraction, "A load this close to the target changes nothing."] = 0.1
    settle_s: Annotated[Seconds, "No shrinking within this time of a change of replicas."] = 300.0

    def __post_init__(self) -> None:
        _check_period(self.every_s)
        if not self.target > 0.0 or not 0.0 <= self.tolerance_fraction < 1.0:
            raise ValueError(
                f"target {self.target} must be above 0, tolerance {self.tolerance_fraction} from 0 to below 1"
            )

    def watch(self, view: ServiceView) -> Watch | None:
        """Watch the load's distance from the target, where something could still change."""
        may_grow = view.replicas_asked < _most(view)
        may_shrink = view.replicas_asked > view.replicas_minimum
        if not (may_grow or may_shrink):
            return None
        return Watch(
            self.every_s,
            load_above=self.target * (1.0 + self.tolerance_fraction) if may_grow else math.inf,
            load_below=self.target * (1.0 - self.tolerance_fraction) if may_shrink else 0.0,
        )

    def step(self, view: ServiceView) -> Sequence[Decision]:
        """Ask for the replicas that the load wants."""
        in_flight = view.queue_length + view.running
        wanted = math.ceil(in_flight / self.target)
        wanted = max(view.replicas_minimum, 1, min(wanted, _most(view)))
        asked, ready = view.replicas_asked, view.replicas_ready
        off_target = abs(in_flight - self.target * ready) > self.tolerance_fraction * self.target * ready
        grows = wanted > asked and (off_target or not ready)
        shrinks = wanted < asked and off_target and view.since_change_s >= self.settle_s
        return (Scale(view.name, view.pool, wanted),) if grows or shrinks else ()


def _most(view: ServiceView) -> int:
    if view.ceiling_replicas is None:
        return view.replicas_maximum
    return min(view.replicas_maximum, view.ceiling_replicas)
