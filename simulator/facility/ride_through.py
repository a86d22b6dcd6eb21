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


@dataclass(frozen=True, slots=True)
class Measures:
    """What the policy has in force; its memory between calls."""

    clocks: tuple[tuple[str, float], ...] = ()
    """Target and clock fraction."""
    clocked_s: float = -float("inf")
    """When clocks were last commanded: they act a delay later. [s]"""
    paused: tuple[int, ...] = ()
    ceilings: tuple[str, ...] = ()
    paused_for_s: float = -float("inf")
    """Begin of the call for which pauses were decided. [s]"""


@dataclass(frozen=True)
class RideThrough:
    """Spend the battery first, then slow clocks, then pause training, then cap replicas.

    Each measure starts early enough to act when the call begins. Within a call measures only
    tighten, so nothing swings; after it everything is given back.
    """

    margin_fraction: Annotated[Fraction, "Kept free below the limit, over the limit."] = 0.01
    stopped_draw_fraction: Annotated[
        Fraction, "What a paused job's GPUs still draw, over its power at the lowest clock."
    ] = 0.3
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
        if view.now_s >= clock_s:
            found, measures = self._slow(view, measures, short_w)
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
        left_w = short_w / view.facility_per_it - sum(_clock_saving_w(load) for load in view.loads)
        first = measures.paused_for_s != call.start_s
        measures = replace(measures, paused_for_s=call.start_s)
        decisions: list[Decision] = []
        if not first and left_w <= 0.0:
            return decisions, measures
        training = sorted(
            (load for load in view.loads if load.kind == "training" and load.index not in measures.paused),
            key=lambda load: (load.priority, -load.power_w, load.index),
        )
        for load in training:
            if left_w <= 0.0:
                break
            decisions.append(Stop(load.index, "checkpoint", "hold"))
            measures = replace(measures, paused=(*measures.paused, load.index))
            left_w -= load.power_at_lowest_clock_w * (1.0 - self.stopped_draw_fraction)
        for load in view.loads:
            if load.kind != "service" or load.replicas < 1:
                continue
            # Without a shortfall the ceiling stays at what runs, so nothing grows into the limit.
            keep = load.replicas
            each_w = load.power_at_lowest_clock_w / load.replicas * (1.0 - self.stopped_draw_fraction)
            least = max(1, round(self.keep_replicas_fraction * load.replicas))
            while left_w > 0.0 and keep > least and each_w > 0.0:
                keep -= 1
                left_w -= each_w
            decisions.append(Ceiling(load.key, gpus=keep * load.gpus_per_replica))
            if load.key not in measures.ceilings:
                measures = replace(measures, ceilings=(*measures.ceilings, load.key))
        return decisions, measures

    def _slow(self, view: PowerView, measures: Measures, short_w: float) -> tuple[list[Decision], Measures]:
        """Lower clocks, of jobs first and of services after, by what is still short."""
        if view.now_s < measures.clocked_s + view.cap_delay_s:
            # What was commanded has not acted yet; the battery bridges.
            return [], measures
        left_w = short_w / view.facility_per_it
        clocks = dict(measures.clocks)
        decisions: list[Decision] = []
        for services in (False, True):
            group = [
                load
                for load in view.loads
                if (load.kind == "service") is services and load.index not in measures.paused
            ]
            possible_w = sum(_clock_saving_w(load) for load in group)
            if left_w <= 0.0 or possible_w <= 0.0:
                continue
            # Power is convex in the clock, so the chord never promises too much.
            share = min(left_w / possible_w, 1.0)
            left_w -= share * possible_w
            for load in group:
                now = clocks.get(load.key, 1.0)
                clocks[load.key] = now - share * max(now - load.lowest_clock_fraction, 0.0)
                decisions.append(SetPower(load.key, clock_fraction=clocks[load.key]))
        if decisions:
            measures = replace(measures, clocks=tuple(clocks.items()), clocked_s=view.now_s)
        return decisions, measures

    def _discharge(self, view: PowerView, allowed_w: float) -> list[Decision]:
        """Let the battery carry what is above the limit now."""
        above_w = max(view.facility_power_w - allowed_w, 0.0)
        wanted_w = -min(above_w, view.storage_power_w) if view.storage_charge_j > 0.0 else 0.0
        return [] if wanted_w == view.storage_dispatch_w else [Store(view.site, wanted_w)]

    def _relax(self, view: PowerView, measures: Measures) -> list[Decision]:
        """Give everything back, and recharge as far as the limit allows."""
        decisions: list[Decision] = [SetPower(key, clock_fraction=1.0) for key, _ in measures.clocks]
        decisions += [Ceiling(key) for key in measures.ceilings]
        decisions += [Resume(job) for job in measures.paused]
        room_w = float("inf") if view.limit_w is None else view.limit_w - view.facility_power_w
        full = view.storage_charge_j >= view.storage_capacity_j
        wanted_w = 0.0 if full else min(self.recharge_fraction * view.storage_power_w, max(room_w, 0.0))
        if wanted_w != view.storage_dispatch_w:
            decisions.append(Store(view.site, wanted_w))
        return [*decisions, Remember(None)] if measures != Measures() else decisions


def _clock_saving_w(load: LoadView) -> float:
    """Return the IT power that the lowest clock saves. [W]"""
    return max(load.power_w - load.power_at_lowest_clock_w, 0.0)
