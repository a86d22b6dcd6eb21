"""What to watch in a finished run: what its numbers hold, leave out or rest on."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from simulator.foundation.units import render
from simulator.results.training_facts import TrainingFacts, watch

if TYPE_CHECKING:
    from simulator.results.finished_run import Run

#: Ends the sentence of what to watch that counts the defaults.
DEFAULTS: Final = "assumptions are defaults nobody set"

#: What a verdict on a service means for its percentiles.
_UNSTEADY: Final = {
    "overloaded": "is overloaded: its percentiles grow with the length of the run",
    "backlogged": "was backlogged: for a time more than a minute of work waited; its percentiles hold that",
}


def to_watch(run: Run, found: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each thing that a reader of a run's numbers should know; never none.

    Parameters
    ----------
    found
        What `digest.digest` has found of services, limits and jobs.
    """
    said = [
        f"{service['name']} {_UNSTEADY[service['stability']]}"
        for service in found["services"]
        if service.get("stability") in _UNSTEADY and not _sheds(service)
    ]
    said += [
        f"{service['name']} is overloaded: its queue is as short as it is because requests are turned away"
        for service in found["services"]
        if _sheds(service)
    ]
    said += [line for service in found["services"] for line in _unanswered(run, service)]
    said += _over_the_limit(found["power"])
    for limit in found["limits"]:
        of = f" of {limit['of']}" if limit["of"] else ""
        if limit["passed"] is None:
            said.append(f"limit on {limit['metric']}{of} could not be checked: the run has no such number")
        elif not limit["passed"]:
            said.append(f"limit on {limit['metric']}{of} is not met")
    for facts in run.provenance.get("training", ()):
        said += watch(TrainingFacts(**facts))
    waiting = sum(group["queued"] for group in found["jobs"])
    if waiting:
        said.append(f"{waiting:,} jobs were still queued at the end (jobs.parquet, state queued)")
    said += list(run.provenance["notes"])
    unset, total = _defaults(run)
    if unset:
        said.append(f"{unset} of {total} {DEFAULTS}")
    return said or ["nothing to watch: all values were set, no limit failed, nothing left its measured range"]


def _sheds(service: Mapping[str, Any]) -> bool:
    return service.get("stability") == "overloaded" and bool(service.get("requests_turned_away"))


def _workload(run: Run, name: str) -> Mapping[str, Any]:
    """Return what the resolved scenario says of a workload."""
    workloads = run.provenance["scenario"].get("workloads") or ()
    return next((said for said in workloads if said["name"] == name), {})


def _over_the_limit(power: Mapping[str, Any]) -> list[str]:
    """Say that more was drawn than the interconnection carries: it is counted, not enforced."""
    limit_w, drawn_w = power.get("limit_w"), power.get("peak_15min_power_w")
    if not limit_w or drawn_w is None or drawn_w <= limit_w:
        return []
    return [
        f"the meter drew {render(drawn_w, 'W')} for 15 minutes, above the interconnection's "
        f"{render(limit_w, 'W')}: that is checked, not enforced"
    ]


def _unanswered(run: Run, service: Mapping[str, Any]) -> list[str]:
    """Say how many requests got no answer, and why: percentiles know nothing of them."""
    name, came, answered = service["name"], service.get("requests_arrived") or 0.0, service.get("requests")
    away, failed = service.get("requests_turned_away") or 0.0, service.get("requests_failed") or 0.0
    bounded = bool(_workload(run, name).get("admission"))
    why = "longer than its engine takes (token_budget where prompts are not cut, kv_blocks)"
    if bounded:
        why = f"more than its admission lets wait, or {why}"
    said = [f"{name}: none of {came:,.0f} requests was answered by the end"] if came and not answered else []
    if away:
        said.append(f"{name}: {away:,.0f} of {came:,.0f} requests turned away, {why}")
    if failed:
        said.append(
            f"{name}: {failed:,.0f} of {came:,.0f} requests failed: they lost their replicas too often"
        )
    return said


def _defaults(run: Run) -> tuple[int, int]:
    path = run.path / "assumptions.csv"
    if not path.exists():
        return 0, 0
    with path.open(encoding="utf-8", newline="") as file:
        origins = [row.get("origin") for row in csv.DictReader(file)]
    return origins.count("default"), len(origins)
