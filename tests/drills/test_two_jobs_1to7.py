"""The shipped pair of 8,192-GPU runs on a 1:7 fabric: placed well nobody waits, badly both do."""

from __future__ import annotations

import pytest

from simulator.engine import simulate
from simulator.scenario import load
from simulator.telemetry import MemorySink

#: What a pod of 384 nodes with 8 ports of 50 GB/s has upwards at 1:7. [B/s]
POD = 384 * 8 * 50e9 / 7
BADLY = [
    "scheduling.placement=spread",
    "workloads.first.rank_order=scattered",
    "workloads.second.rank_order=scattered",
]


def run(*overrides):
    sink = MemorySink()
    return simulate(load("training/two-jobs-1to7", ["duration=1 h", *overrides]), sink), sink.columns("links")


def test_placed_well_gradients_cross_pods_in_a_third_of_what_is_there():
    """128 rings (16 nodes of a copy, 8 ports each) cross the edge of a pod: 6.4 of 21.9 TB/s."""
    record, links = run()
    assert record.link_losses == ()
    assert len(links["job"]) == 0
    assert POD / 3 > 16 * 8 * 50e9


def test_neighbours_in_rank_cross_no_more_if_nodes_are_only_spread():
    record, _ = run("scheduling.placement=spread")
    assert record.link_losses == ()


def test_placed_badly_both_slow_at_the_pods_uplinks():
    """128 of a run's 1,024 nodes lie in each of 8 pods; seven of eight neighbours are in another.

    So about 128 x 7/8 x 8 ports talk across a pod's edge: 45 TB/s of one run, and 21.9 are there.
    Alone it would get at most 0.49 of its ports; the other one leaves it less.
    """
    well, _ = run()
    badly, links = run(*BADLY)
    assert [loss.job for loss in badly.link_losses] == ["first", "second"]
    slowdown = 1.0 - badly.jobs.work_done / well.jobs.work_done
    for place, loss in enumerate(badly.link_losses):
        assert loss.link.startswith("pod-")
        assert 0.02 < loss.worst_slowdown_fraction < 0.15
        assert slowdown[place] == pytest.approx(loss.worst_slowdown_fraction, rel=1e-6)
    assert links["capacity_bytes_per_s"] == pytest.approx([POD] * len(links["job"]))
    crossing = 128 * 7 / 8 * 8 * 50e9
    for exchange, peak, share in zip(
        links["exchange"], links["peak_bytes_per_s"], links["share"], strict=True
    ):
        assert exchange in ("pipeline", "data-parallel")
        assert peak == pytest.approx(crossing, rel=0.15)
        assert 0.25 * POD / crossing < share < 0.98 * POD / (0.9 * crossing)


def test_on_a_full_fabric_the_same_bad_placement_costs_nothing():
    record, _ = run(*BADLY, 'sites.hall.fabric.oversubscription="1:1"')
    assert record.link_losses == ()
