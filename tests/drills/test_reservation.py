"""Drill: a policy from outside reserves by decision, and the promise holds against everybody."""

from __future__ import annotations

POLICY = '''
from dataclasses import dataclass
from typing import ClassVar, Literal

from simulator.decisions import Remember, Reserve, Start
from simulator.scheduling.orders import Submission


@dataclass(frozen=True)
class PromiseTheLargest:
    """Start whoever fits; promise all GPUs to the first job that wants them all, from 1000 s."""

    order: ClassVar = Submission()
    pass_per: ClassVar[Literal["instant", "event"]] = "instant"
    reserve: ClassVar[Literal["counts", "machines", "nothing"]] = "counts"
    blocks_at_head: ClassVar[bool] = False

    def step(self, view):
        answers = []
        for job in view.waiting:
            if view.memory is None and view.jobs.gpus[job] == view.total_gpus:
                answers += [Reserve(job, 1000.0, view.total_gpus), Remember(job)]
                continue
            placement = view.claim(job)
            if placement is not None:
                answers.append(Start(job, placement))
        return answers
'''

SCENARIO = """
title: A promise
start: 2024-01-01 00:00 UTC
duration: until done
sites:
  - name: here
    grid: {{intensity: 100 g/kWh, price: 50 USD/MWh}}
    cooling: {{plant: none}}
    pools: [{{name: p, node: generic-1gpu, nodes: 10}}]
scheduling: {{policy: "{policy}:PromiseTheLargest"}}
workloads:
  - kind: list
    name: jobs
    jobs:
      - {{id: a, gpus: 4, run: 900 s}}
      - {{id: all, submit: 100 s, gpus: 10, run: 500 s}}
      - {{id: short, submit: 200 s, gpus: 6, run: 800 s}}
      - {{id: long, submit: 300 s, gpus: 1, run: 2000 s}}
"""


def test_nobody_starts_who_would_stand_in_the_way(drill, tmp_path):
    """10 GPUs. `all` is promised all ten from 1000 s. `short` (6 GPUs from 200 s) ends at 1000 s
    and may run beside a (until 900 s). `long` would still hold a GPU at 1000 s: from 900 s on four
    are free, and it must not have one. `all` starts at 1000 s, `long` after it at 1500 s.
    """
    policy = tmp_path / "promise.py"
    policy.write_text(POLICY)
    run = drill(SCENARIO.format(policy=policy))
    start_s = {name: run.job(name)["started_s"] for name in ("a", "short", "all", "long")}
    assert start_s == {"a": 0.0, "short": 200.0, "all": 1000.0, "long": 1500.0}
    assert [row[2:5] for row in run.events("decision")] == [("Reserve", "all", "applied")]
    run.books()
