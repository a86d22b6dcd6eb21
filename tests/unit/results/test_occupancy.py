"""GPUs by state: every GPU is in one state at every moment."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simulator.results.occupancy import occupancy_rows, pool_steps
from simulator.telemetry import WAIT_REASONS, NodeFacts, Phase, PoolFacts, SiteFacts

HORIZON_S = 1000.0
GPUS = 64


def record(segments, waits=(), outages=(), shares=(1.0, 0.5, 0.9), tenants=("a", "b", "a")):
    """A pool of 64 GPUs; segments (job, start, end, gpus, phase), waits (job, reason, start, end, gpus)."""
    segment = list(zip(*segments, strict=True)) or [()] * 5
    wait = list(zip(*waits, strict=True)) or [()] * 5
    outage = list(zip(*outages, strict=True)) or [()] * 4
    node = NodeFacts("n", "g", 8, 70.0, 500.0, None, None)
    return SimpleNamespace(
        horizon_s=HORIZON_S,
        sites=(SiteFacts("s", "UTC", 0.0, None),),
        pools=(PoolFacts("p", 0, GPUS // 8, node),),
        jobs=SimpleNamespace(
            tenant=list(tenants),
            queue=["q"] * len(tenants),
            pool=np.zeros(len(tenants), dtype=np.int16),
            productive_share=np.array(shares),
        ),
        segments={
            "job": np.array(segment[0], dtype=int),
            "start_s": np.array(segment[1], dtype=float),
            "end_s": np.array(segment[2], dtype=float),
            "gpus": np.array(segment[3], dtype=int),
            "phase": np.array([int(phase) for phase in segment[4]], dtype=int),
            "pool": np.zeros(len(segment[0]), dtype=int),
        },
        waits={
            "job": np.array(wait[0], dtype=int),
            "reason": np.array([WAIT_REASONS.index(name) for name in wait[1]], dtype=int),
            "start_s": np.array(wait[2], dtype=float),
            "end_s": np.array(wait[3], dtype=float),
            "gpus": np.array(wait[4], dtype=int),
        },
        outages={
            "pool": np.zeros(len(outage[0]), dtype=int),
            "start_s": np.array(outage[0], dtype=float),
            "end_s": np.array(outage[1], dtype=float),
            "gpus": np.array(outage[2], dtype=int),
            "planned": np.array(outage[3], dtype=int),
        },
    )


def at(rows, moment):
    """GPUs by (tenant, state) at a moment."""
    found = {}
    for tenant, state, time_s, gpus in zip(
        rows["tenant"], rows["state"], rows["time_s"], rows["gpus"], strict=True
    ):
        if time_s <= moment:
            found[tenant, state] = int(gpus)
    return {key: value for key, value in found.items() if value}


def test_states_by_hand():
    rows = occupancy_rows(
        record(
            [
                (0, 0.0, 100.0, 16, Phase.STARTING),
                (0, 100.0, 500.0, 16, Phase.RUNNING),
                (1, 100.0, 1000.0, 8, Phase.RUNNING),
                (2, 200.0, 300.0, 4, Phase.IDLE),
            ],
            waits=[(2, "carbon-hold", 0.0, 200.0, 4), (1, "capacity", 0.0, 100.0, 8)],
            outages=[(400.0, 600.0, 8, 0), (400.0, 700.0, 8, 1)],
        )
    )
    assert at(rows, 50.0) == {("a", "overhead"): 16, ("", "held"): 4, ("", "free"): 44}
    assert at(rows, 250.0) == {
        ("a", "productive"): 16,
        ("b", "productive"): 4,  # half of job 1's steps is bubble
        ("b", "overhead"): 4,
        ("a", "allocated idle"): 4,
        ("", "free"): 36,
    }
    assert at(rows, 450.0)["", "down"] == 8
    assert at(rows, 450.0)["", "maintenance"] == 8
    assert at(rows, 450.0)["", "free"] == 64 - 24 - 16
    assert at(rows, 999.0) == {("b", "productive"): 4, ("b", "overhead"): 4, ("", "free"): 56}


def test_a_held_gpu_of_a_failed_node_is_the_jobs():
    steps = pool_steps(record([(0, 0.0, 1000.0, 60, Phase.DETECTING)], outages=[(100.0, 1000.0, 8, 0)]), 0)
    assert steps.gpu_seconds("down", HORIZON_S) == 4 * 900.0
    assert steps.gpu_seconds("free", HORIZON_S) == 4 * 100.0


def test_stranded_is_free_while_a_job_fits_by_count_alone():
    steps = pool_steps(
        record(
            [(0, 0.0, 1000.0, 40, Phase.RUNNING)],
            waits=[(1, "fragmentation", 0.0, 500.0, 16), (2, "fragmentation", 200.0, 500.0, 16)],
        ),
        0,
    )
    # 16 until 200 s; then 32 wanted, of which only the 24 free can be stranded.
    assert steps.gpu_seconds("stranded", HORIZON_S) == 16 * 200.0 + 24 * 300.0


phases = st.sampled_from([Phase.STARTING, Phase.RUNNING, Phase.RECOVERING, Phase.IDLE])


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 900), st.integers(1, 100), st.integers(1, 8), phases),
        max_size=8,
    ),
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 100), st.just(8), st.integers(0, 1)), max_size=5),
)
def test_states_add_up_to_the_pool_at_every_moment(segments, outages):
    rows = occupancy_rows(
        record(
            [
                (job, float(start), float(start + width), gpus, phase)
                for job, start, width, gpus, phase in segments
            ],
            outages=[
                (float(start), float(start + width), gpus, planned) for start, width, gpus, planned in outages
            ],
        )
    )
    for moment in sorted(set(rows["time_s"])):
        found = at(rows, moment)
        assert sum(found.values()) == GPUS
        assert min(found.values()) > 0
