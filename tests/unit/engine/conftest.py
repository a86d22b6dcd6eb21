"""A tiny run of the engine that a test may take hold of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from simulator.engine.build import build_world
from simulator.engine.engine import Engine
from simulator.foundation.time_grid import Priority
from simulator.scenario.reading import load_text
from simulator.telemetry import MemorySink
from simulator.telemetry.recorder import Recorder

HOUSE = """
title: One pool
start: 2024-01-01 00:00 UTC
duration: until done
sites:
  - name: here
    grid: {intensity: 100 g/kWh, price: 50 USD/MWh}
    cooling: {plant: none}
    pools: [{name: p, node: generic-1gpu, nodes: 10}]
"""


@pytest.fixture(scope="session")
def engine_of():
    """Make an engine of a house with these jobs; `acts` are (moment, what to do with it)."""

    def make(
        *jobs: str,
        more: str = "scheduling: {policy: fcfs}",
        house: str = HOUSE,
        overrides: Sequence[str] = (),
        plans: Sequence[object] = (),
        acts: Sequence[tuple[float, Callable[[Engine], None]]] = (),
    ) -> Engine:
        rows = "\n".join(f"      - {{{job}}}" for job in jobs)
        text = f"{house}\n{more}\nworkloads:\n  - kind: list\n    name: jobs\n    jobs:\n{rows}\n"
        world = build_world(load_text(text, overrides, name="unit.yaml"))
        for queue, plan in zip(world.queues, plans, strict=False):
            queue.plan = plan
        engine = Engine(world, Recorder(MemorySink()))
        for at_s, act in acts:
            engine.clock.timer(partial(act, engine), Priority.CONTROL).arm(at_s)
        return engine

    return make
