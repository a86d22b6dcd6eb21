"""Moments and spans: that they lie within the run, and that the run can end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from simulator.foundation.units import render
from simulator.scenario.mistake import Mistake
from simulator.scenario.said import Route
from simulator.scenario.script import Curtailment
from simulator.scenario.services import Service
from simulator.scenario.workloads import JobList, JobStream, Training

if TYPE_CHECKING:
    from simulator.scenario.tree import Scenario


def mistakes(scenario: Scenario) -> Iterator[Mistake]:
    """Return what would happen outside the run, and runs without an end."""
    if scenario.duration_s is None:
        yield from _endless(scenario)
    for index, workload in enumerate(scenario.workloads):
        at: Route = ("workloads", index)
        if isinstance(workload, Training):
            yield from _job(scenario, at, workload.submit_s, workload.deadline_s)
        elif isinstance(workload, JobList):
            for number, job in enumerate(workload.jobs):
                yield from _job(scenario, (*at, "jobs", number), job.submit_s, job.deadline_s)
    for index, event in enumerate(scenario.script):
        path: Route = ("script", index, "at")
        yield from _inside(scenario, path, event.at_s)
        if isinstance(event, Curtailment) and 0 <= event.at_s < event.notice_s:
            said = f"the notice would come {render(event.notice_s - event.at_s, 's')} before the start"
            yield Mistake(("script", index, "notice"), said)


def _endless(scenario: Scenario) -> Iterator[Mistake]:
    for index, workload in enumerate(scenario.workloads):
        answers_a_log = isinstance(workload, Service) and workload.path is not None
        if isinstance(workload, Service | JobStream) and not answers_a_log:
            said = f"{workload.name!r} never ends, so the run needs a duration"
            yield Mistake(("workloads", index), said, "duration: 14 d")
        elif isinstance(workload, Service) and workload.mode != "full":
            said = f"a service in mode {workload.mode} needs to know how long the run is"
            yield Mistake(("workloads", index, "mode"), said, "duration: 14 d, or mode: full")
    if not scenario.workloads:
        yield Mistake(("workloads",), "without work the run needs a duration", "duration: 14 d")


def _job(scenario: Scenario, at: Route, submit_s: float, deadline_s: float | None) -> Iterator[Mistake]:
    yield from _inside(scenario, (*at, "submit"), submit_s)
    if deadline_s is not None and deadline_s <= submit_s:
        yield Mistake((*at, "deadline"), "the deadline is not after the submission")


def _inside(scenario: Scenario, path: Route, moment_s: float) -> Iterator[Mistake]:
    if moment_s < 0:
        said = f"{render(-moment_s, 's')} before the start, {scenario.start.text}"
        yield Mistake(path, said)
    elif scenario.duration_s is not None and moment_s >= scenario.duration_s:
        late, whole = render(moment_s, "s"), render(scenario.duration_s, "s")
        yield Mistake(path, f"{late} after the start, but the run lasts {whole}")
