"""One call from a scenario to its record."""

from __future__ import annotations

from collections.abc import Callable

from simulator.engine.build import build_world
from simulator.engine.engine import Engine
from simulator.engine.outcome import record_of
from simulator.scenario.tree import Scenario
from simulator.telemetry.record import Record
from simulator.telemetry.recorder import Recorder, Sink


def simulate(
    scenario: Scenario, sink: Sink, progress: Callable[[float, float], None] | None = None
) -> Record:
    """Run a scenario and return its record; rows go to the sink as they come.

    Parameters
    ----------
    scenario
        What to run.
    sink
        Takes segments, waits, events and requests in blocks.
    progress
        Called now and then with the time reached and the horizon (inf if open). [s]
    """
    world = build_world(scenario)
    horizon_s = world.horizon_s
    engine = Engine(world, Recorder(sink))
    if progress is None:
        engine.run()
    else:
        report = progress
        engine.run(lambda now_s: report(now_s, horizon_s))
    return record_of(engine)
