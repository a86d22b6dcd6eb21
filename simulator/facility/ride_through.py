"""Ride through a curtailment: battery, then clocks, then paused training, then replicas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from simulator.decisions import (
    CallView,
    Ceiling,
    Decision,
    LoadView,
    PowerView,
    Remember,
    Resume,
    SetPower,
    Stop,
    Store,
    Wake,
)
from simulator.foundation.quantity import Fraction

#: Halvings that find a clock; 2**-50 of it is nothing.
_HALVINGS = 50


@dataclass(frozen=True, slots=True)
class Measures:
    """What the policy has in force; its memory between calls."""

    clocks: tuple[tuple[str, float], ...] = ()
    """Target and clock fraction."""
    clocked_s: float = -float("inf")
    """When clocks were last commanded: they act a delay later. [s]"""
    paused: tuple[int, ...] = ()
    ceilings: tuple[tuple[str, float], ...] = ()
    """Target and what holds there, GPUs of a service or watts of jobs."""
    floors: tuple[tuple[str, int], ...] = ()
    """Service and the fewest replicas it keeps, from what ran before the first call."""
    paused_for_s: float = -float("inf")
    """Begin of the call for which pauses were decided. [s]"""


@dataclass(frozen=True)
class RideThrough:
    """Spend the battery first, then slow clocks, then pause training, then cap replicas.

    Each measure starts early enough to act when the call begins. Within a call measures only
    tighten, so nothing swings, and no job starts that the limit leaves no room for; after it
    everything is given back. Services count with the most they can draw.
    """

    margin_fraction: Annotated[Fraction, "Kept free below the limit, over the limit."] = 0.01
    keep_replicas_fraction: Annotated[
        Fraction, "Least share of a service's replicas that stays, one at least."
    ] = 0.5
    usable_charge_fraction: Annotated[
        Fraction, "Share of the stored energy counted on, for losses and surprises."
    ] = 0.9
    recharge_fraction: Annotated[Fraction, "Recharge outside calls at this share of the storage's power."] = (
        0.5
    )

    def decide(self, view: PowerView) -> Sequence[Decision]:
        """Return what to do now; see `PowerPolicy.decide`."""
        measures = view.memory if isinstance(view.memory, Measures) else Measures()
        lead_s = view.checkpoint_s + view.cap_delay_s
        calls = sorted((c for c in view.calls if c.end_s > view.now_s), key=lambda c: (c.start_s, c.end_s))
        near = [c for c in calls if c.start_s - lead_s <= view.now_s]
        later = [Wake(c.start_s - lead_s) for c in calls if c.start_s - lead_s > view.now_s][:1]
        if not near:
            # Until the lead time of a call begins, operation is ordinary.
            return [*self._relax(view, measures), *later]

        call = min(near, key=lambda c: c.limit_w)
        clock_s = call.start_s - view.cap_delay_s
        decisions: list[Decision] = [*later]
        short_w = self._short_w(view, call)
        acted = view.now_s >= measures.clocked_s + view.cap_delay_s
        if measures.paused_for_s != call.start_s or (view.now_s >= call.start_s and acted):
            found, measures = self._pause(view, call, measures, short_w)
            decisions += found
        found, measures = _bound_jobs(view, measures, short_w)
        decisions += found
        if view.now_s >= clock_s:
            found, measures = _slow(view, measures, short_w)
            decisions += found
        else:
            decisions.append(Wake(clock_s))
        if view.now_s >= call.start_s:
            decisions += self._discharge(view, self._allowed_w(call))
            settles_s = measures.clocked_s + view.cap_delay_s
            decisions.append(Wake(settles_s if settles_s > view.now_s else call.end_s))
        else:
            decisions.append(Wake(call.start_s))
        return [*decisions, Remember(measures)]

    def _allowed_w(self, call: CallView) -> float:
        return call.limit_w * (1.0 - self.margin_fraction)

    def _short_w(self, view: PowerView, call: CallView) -> float:
        """Power to shed at the meter for the whole call, after what the battery can hold up."""
        remaining_s = call.end_s - max(call.start_s, view.now_s)
        held_w = min(view.storage_power_w, self.usable_charge_fraction * view.storage_charge_j / remaining_s)
        return view.facility_power_w - self._allowed_w(call) - held_w

    def _pause(
        self, view: PowerView, call: CallView, measures: Measures, short_w: float
    ) -> tuple[list[Decision], Measures]:
        """Pause training and cap replicas for what clocks cannot give."""
        left_w = (
            short_w / view.facility_per_it
            - _going_w(view, measures)
            - sum(load.power_w - load.power_at_lowest_clock_w for load in _staying(view, measures))
        )
        first = measures.paused_for_s != call.start_s
        measures = replace(measures, paused_for_s=call.start_s)
        decisions: list[Decision] = []
        if not first and left_w <= 0.0:
            return decisions, measures
        pausable = sorted(
            (load for load in _staying(view, measures) if load.saves),
            key=lambda load: (load.priority, -load.power_w, load.index),
        )
        for load in pausable:
            if left_w <= 0.0:
                break
            decisions.append(Stop(load.index, "checkpoint", "hold"))
            measures = replace(measures, paused=(*measures.paused, load.index))
            left_w -= load.power_at_lowest_clock_w - load.power_when_stopped_w
        ceilings, floors = dict(measures.ceilings), dict(measures.floors)
        for load in view.loads:
            if load.kind != "service" or load.replicas < 1:
                continue
            # Without a shortfall the ceiling stays at what runs, so nothing grows into the limit.
            keep = load.replicas
            least = floors.setdefault(load.key, max(1, round(self.keep_replicas_fraction * keep)))
            each_w = _each_w(load, load.power_at_lowest_clock_w)
            while left_w > 0.0 and keep > least and each_w > 0.0:
                keep -= 1
                left_w -= each_w
            gpus = keep * load.gpus_per_replica
            if ceilings.get(load.key) != gpus:
                decisions.append(Ceiling(load.key, gpus=gpus))
                ceilings[load.key] = gpus
        return decisions, replace(measures, ceilings=tuple(ceilings.items()), floors=tuple(floors.items()))

    def _discharge(self, view: PowerView, allowed_w: float) -> list[Decision]:
        """Let the battery carry what is above the limit now."""
        above_w = max(view.facility_power_w - allowed_w, 0.0)
        wanted_w = -min(above_w, view.storage_power_w) if view.storage_charge_j > 0.0 else 0.0
        return [] if wanted_w == view.storage_dispatch_w else [Store(view.site, wanted_w)]

    def _relax(self, view: PowerView, measures: Measures) -> list[Decision]:
        """Give everything back, and recharge as far as the limit allows."""
        decisions: list[Decision] = [SetPower(key, clock_fraction=1.0) for key, _ in measures.clocks]
        decisions += [Ceiling(key) for key, _ in measures.ceilings]
        decisions += [Resume(job) for job in measures.paused]
        room_w = float("inf") if view.limit_w is None else view.limit_w - view.facility_power_w
        full = view.storage_charge_j >= view.storage_capacity_j
        wanted_w = 0.0 if full else min(self.recharge_fraction * view.storage_power_w, max(room_w, 0.0))
        if wanted_w != view.storage_dispatch_w:
            decisions.append(Store(view.site, wanted_w))
        return [*decisions, Remember(None)] if measures != Measures() else decisions


def _bound_jobs(view: PowerView, measures: Measures, short_w: float) -> tuple[list[Decision], Measures]:
    """Let jobs start only into the room that the limit leaves."""
    target = f"jobs:{view.site}"
    jobs = [load for load in view.loads if load.kind != "service"]
    above_idle_w = sum(load.power_w - load.power_when_stopped_w for load in jobs)
    room_w = above_idle_w - short_w / view.facility_per_it
    ceilings = dict(measures.ceilings)
    known_w = ceilings.get(target)
    if known_w is not None and abs(room_w - known_w) <= 1e-9 * view.it_power_w:
        return [], measures
    ceilings[target] = room_w
    return [Ceiling(target, watts=room_w)], replace(measures, ceilings=tuple(ceilings.items()))


def _slow(view: PowerView, measures: Measures, short_w: float) -> tuple[list[Decision], Measures]:
    """Lower clocks, of jobs first and of services after, by what is still short."""
    if view.now_s < measures.clocked_s + view.cap_delay_s:
        # What was commanded has not acted yet; the battery bridges.
        return [], measures
    left_w = short_w / view.facility_per_it - _going_w(view, measures)
    clocks = dict(measures.clocks)
    decisions: list[Decision] = []
    running = _staying(view, measures)
    groups = [(f"jobs:{view.site}", [load for load in running if load.kind != "service"])]
    groups += [(load.key, [load]) for load in running if load.kind == "service"]
    for target, loads in groups:
        if left_w <= 0.0:
            break
        clock = _clock_for(loads, left_w)
        if clock < clocks.get(target, 1.0):
            left_w -= sum(load.power_w - _slowed_w(load, clock) for load in loads)
            clocks[target] = clock
            decisions.append(SetPower(target, clock_fraction=clock))
    if decisions:
        measures = replace(measures, clocks=tuple(clocks.items()), clocked_s=view.now_s)
    return decisions, measures


def _staying(view: PowerView, measures: Measures) -> list[LoadView]:
    """Return the loads that are not on their way out."""
    return [load for load in view.loads if load.index < 0 or load.index not in measures.paused]


def _going_w(view: PowerView, measures: Measures) -> float:
    """Return the IT power that goes by itself: of paused jobs, and of replicas that drain. [W]"""
    total_w = 0.0
    for load in view.loads:
        if load.kind == "service":
            draining = load.gpus / load.gpus_per_replica - load.replicas
            total_w += draining * _each_w(load, load.power_w)
        elif load.index in measures.paused:
            total_w += load.power_w - load.power_when_stopped_w
    return total_w


def _each_w(load: LoadView, power_w: float) -> float:
    """Return what one replica less draws less, of a service that draws `power_w`. [W]"""
    return (power_w - load.power_when_stopped_w) * load.gpus_per_replica / load.gpus


def _clock_for(loads: list[LoadView], shed_w: float) -> float:
    """Return the highest common clock at which loads draw `shed_w` less, or the lowest there is."""
    low, high = max((load.lowest_clock_fraction for load in loads), default=1.0), 1.0
    wanted_w = sum(load.power_w for load in loads) - shed_w
    if sum(_slowed_w(load, low) for load in loads) >= wanted_w:
        return low
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if sum(_slowed_w(load, middle) for load in loads) <= wanted_w:
            low = middle
        else:
            high = middle
    return low


def _slowed_w(load: LoadView, clock_fraction: float) -> float:
    """Return what a load draws at another clock, at most: power is convex in the clock. [W]"""
    span = load.clock_fraction - load.lowest_clock_fraction
    if span <= 0.0 or clock_fraction >= load.clock_fraction:
        return load.power_w
    share = min((load.clock_fraction - clock_fraction) / span, 1.0)
    return load.power_w - share * (load.power_w - load.power_at_lowest_clock_w)
