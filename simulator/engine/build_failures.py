"""What will break or be slow: causes at the scenario's rate, lemons, slow nodes, ejection, maintenance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simulator.engine.world import Cause, Ejection, Lemons, Maintenance, SlowNodeRules
from simulator.foundation.units import HOUR_S

if TYPE_CHECKING:
    from simulator.scenario.tree import Scenario


def causes_of(scenario: Scenario) -> tuple[Cause, ...]:
    """Return the causes that strike every pool; none if nothing fails."""
    rules = scenario.failures
    if rules.preset == "none" or rules.rate_scale == 0.0:
        return ()
    preset = scenario.catalog.failure_preset(rules.preset)
    return tuple(
        Cause(
            name=cause.cause,
            # A dead link stops the job that crosses it and leaves the node up.
            scope="node" if cause.scope == "node" else "job",
            per_gpu_s=cause.events / (preset.gpu_hours * HOUR_S) * rules.rate_scale,
            detect_s=cause.detect_s,
            recover_s=cause.recover_s,
            repair_s=cause.repair_s,
            planned=cause.planned,
            diagnose_s=cause.diagnose_s,
            undetected_s=cause.undetected_s,
        )
        for cause in preset.causes
        if cause.events > 0
    )


def lemons_of(scenario: Scenario) -> Lemons | None:
    """Return the nodes that break more often, if the scenario has any."""
    said = scenario.failures.lemons
    return None if said is None else Lemons(said.share_fraction, said.rate_scale)


def ejection_of(scenario: Scenario) -> Ejection | None:
    """Return when a node must leave, if ever."""
    said = scenario.failures.ejection
    return None if said is None else Ejection(said.incidents, said.within_s, said.replacement_s)


def slow_nodes_of(scenario: Scenario) -> SlowNodeRules | None:
    """Return which nodes compute slowly, if any, and when they leave."""
    said = scenario.failures.slow_nodes
    if said is None:
        return None
    after_s = math.inf if said.ejected_after_s is None else said.ejected_after_s
    return SlowNodeRules(said.share_fraction, said.slowdown_fraction, after_s, said.replacement_s)


def maintenance_of(scenario: Scenario) -> Maintenance | None:
    """Return the announced windows, if there are any."""
    said = scenario.failures.maintenance
    if said is None:
        return None
    first_s = said.every_s if said.first_s is None else said.first_s
    return Maintenance(first_s, said.every_s, said.lasts_s, said.nodes_fraction)
