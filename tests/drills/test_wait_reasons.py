"""Drill: why jobs wait - capacity, fragmentation, behind the head, held by the carbon gate."""

from __future__ import annotations

SITE = """
title: Why they wait
start: 2024-01-01 00:00 UTC
duration: until done
sites:
  - name: here
    grid: {intensity: 100 g/kWh, price: 50 USD/MWh}
    cooling: {plant: none}
    fabric: {nodes_per_leaf: 8}
    pools: [{name: p, node: hgx-h100-8, nodes: 2}]
"""


def test_the_head_says_capacity_or_fragmentation_and_the_rest_stand_behind(drill):
    """Two nodes of 8. At 0 s: a (6 GPUs) and b (6 GPUs) start on a node each, 4 GPUs are left as
    2 + 2. c wants 4 on one node: the count fits, no placement does. d wants 1 and would fit, but
    FCFS keeps it behind c. b ends at 300 s and c starts; d starts with it.
    """
    run = drill(
        SITE
        + """
scheduling: {policy: fcfs, placement: consolidate}
workloads:
  - kind: list
    name: jobs
    jobs:
      - {id: a, gpus: 6, run: 1000 s}
      - {id: b, gpus: 6, run: 300 s}
      - {id: c, submit: 100 s, gpus: 4, run: 100 s}
      - {id: d, submit: 200 s, gpus: 1, run: 10 s}
"""
    )
    assert run.waits("a") == []
    assert run.waits("c") == [("fragmentation", "fragmentation", 100.0, 300.0)]
    assert run.waits("d") == [("behind", "fragmentation", 200.0, 300.0)]
    assert run.job("d")["finished_s"] == 310.0
    run.books()


def test_a_follower_becomes_the_head_and_its_reason_changes(drill):
    """16 GPUs. a (16) runs to 100 s. b (12) is the head from 0 s, c (8) behind it. At 100 s b
    starts; c, now the head, needs 8 of 4 free until b ends at 200 s.
    """
    run = drill(
        SITE
        + """
scheduling: {policy: fcfs, placement: lowest-numbered}
workloads:
  - kind: list
    name: jobs
    jobs:
      - {id: a, gpus: 16, run: 100 s}
      - {id: b, gpus: 12, run: 100 s}
      - {id: c, gpus: 8, run: 50 s}
"""
    )
    assert run.waits("b") == [("capacity", "capacity", 0.0, 100.0)]
    assert run.waits("c") == [
        ("behind", "capacity", 0.0, 100.0),
        ("capacity", "capacity", 100.0, 200.0),
    ]
    run.books()


def test_a_held_job_is_not_the_head(drill):
    """The carbon gate holds tenant `slow` for its patience of 500 s (the grid never gets clean).
    b, of another tenant and later, is not held up by it.
    """
    run = drill(
        SITE
        + """
scheduling:
  policy: fcfs
  admit: [{policy: carbon-hold, threshold: 50 g/kWh, patience: 500 s, tenants: [slow]}]
workloads:
  - kind: list
    name: jobs
    jobs:
      - {id: a, gpus: 4, run: 100 s, tenant: slow}
      - {id: b, submit: 10 s, gpus: 16, run: 100 s, tenant: fast}
""",
        "duration=1000 s",
    )
    assert run.waits("b") == []
    assert run.waits("a") == [("carbon-hold", "carbon-hold", 0.0, 500.0)]
    assert run.job("a")["started_s"] == 500.0
    assert [read.reader for read in run.record.signals_read] == ["carbon-hold"]
    run.books()
