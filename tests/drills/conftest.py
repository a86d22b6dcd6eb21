"""Tiny scenarios with answers computed by hand: what runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator.accounting.account import account
from simulator.accounting.books import Books
from simulator.engine import simulate
from simulator.engine.build import build_world
from simulator.engine.engine import Engine
from simulator.engine.outcome import record_of
from simulator.foundation.time_grid import Priority
from simulator.results.book_inputs import book_rules, site_books
from simulator.scenario.reading import load_text
from simulator.scenario.tree import Scenario
from simulator.telemetry import PHASES, WAIT_REASONS, MemorySink
from simulator.telemetry.record import Record
from simulator.telemetry.recorder import Recorder

Act = tuple[float, Priority, Callable[[Engine], None]]


@dataclass
class Drill:
    """A tiny run: its record, its rows and its books."""

    scenario: Scenario
    record: Record
    sink: MemorySink

    def books(self) -> Books:
        """The accounts, audited."""
        horizon_s = self.record.horizon_s
        books = account(self.record, site_books(self.scenario, horizon_s), book_rules(self.scenario))
        for entry in books.audit:
            assert entry.relative < 1e-9, entry
        return books

    def job(self, job_id: str) -> dict[str, Any]:
        """One job's outcome by column."""
        jobs = self.record.jobs
        row = jobs.job_id.index(job_id)
        return {name: getattr(jobs, name)[row] for name in type(jobs).__slots__}

    def segments(self, job_id: str) -> list[tuple[str, float, float, int, float, float]]:
        """(phase, start_s, end_s, gpus, rate, power_w) of a job in order."""
        table = self.record.segments
        row = self.record.jobs.job_id.index(job_id)
        rows = np.flatnonzero(table["job"] == row)
        return [
            (
                PHASES[table["phase"][i]],
                float(table["start_s"][i]),
                float(table["end_s"][i]),
                int(table["gpus"][i]),
                float(table["rate"][i]),
                float(table["power_w"][i]),
            )
            for i in rows
        ]

    def waits(self, job_id: str) -> list[tuple[str, str, float, float]]:
        """(reason, blocked by, start_s, end_s) of a job in order."""
        table = self.record.waits
        row = self.record.jobs.job_id.index(job_id)
        return [
            (
                WAIT_REASONS[table["reason"][i]],
                WAIT_REASONS[table["blocked_by"][i]],
                float(table["start_s"][i]),
                float(table["end_s"][i]),
            )
            for i in np.flatnonzero(table["job"] == row)
        ]

    def events(self, kind: str = "", what: str = "") -> list[tuple[float, str, str, str, str, float]]:
        """(time_s, kind, what, target, outcome, value) of the events, filtered."""
        rows = self.sink.columns("events")
        return [
            row
            for row in zip(
                rows["time_s"],
                rows["kind"],
                rows["what"],
                rows["target"],
                rows["outcome"],
                rows["value"],
                strict=True,
            )
            if kind in ("", row[1]) and what in ("", row[2])
        ]


@pytest.fixture
def epw(tmp_path):
    """Write a weather year of one's own: the dry bulb of every hour, dew points far below it."""

    def write(dry_c: Callable[[int], float]) -> Path:
        head = ["LOCATION,Here,-,-,-,0,51.0,0.0,0.0,10.0"] + ["-"] * 7
        hours = [f"2001,1,1,{1 + k % 24},60,-,{dry_c(k)},{dry_c(k) - 15.0},40,101325" for k in range(8760)]
        path = tmp_path / "x.epw"
        path.write_text("\n".join(head + hours) + "\n")
        return path

    return write


@pytest.fixture(scope="session")
def drill():
    """Run a scenario given as text.

    `acts` are (moment, priority, what to do with the engine): for what no script can ask for.
    """

    def run(text: str, *overrides: str, acts: Sequence[Act] = ()) -> Drill:
        scenario = load_text(text, overrides, name="drill.yaml")
        sink = MemorySink()
        if not acts:
            return Drill(scenario, simulate(scenario, sink), sink)
        engine = Engine(build_world(scenario), Recorder(sink))
        for at_s, priority, act in acts:
            engine.clock.timer(partial(act, engine), priority).arm(at_s)
        engine.run()
        return Drill(scenario, record_of(engine), sink)

    return run
