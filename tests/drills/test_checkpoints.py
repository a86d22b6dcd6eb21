"""Drill: what a failure costs while a checkpoint is still being written out in the background."""

from __future__ import annotations

import pytest

#: Multiply-adds of Llama 3.1 8B for a token: 32 layers of attention and gated MLP, and the head.
_LAYER = 4096 * (4096 + 1024 + 1024 + 4096) + 3 * 4096 * 14336
_MATMUL = 32 * _LAYER + 4096 * 128256
#: Operations to train on one token with 8192 of context, attention in full.
FLOP = 6 * _MATMUL + 12 * 32 * 4096 * 8192
#: The utilization at which 16 H100 take 2 s for a step of 16 sequences.
MFU = 16 * 8192 * FLOP / (2.0 * 16 * 989.5e12)

#: 5000 steps of 2 s. 14 bytes for each of 8.03e9 parameters at 1 GB/s take 112 s to be durable.
SCENARIO = f"""
title: Saved, but not yet safe
start: 2024-01-01 00:00 UTC
duration: until done
sites:
  - name: here
    grid: {{intensity: 100 g/kWh, price: 50 USD/MWh}}
    cooling: {{plant: none}}
    network_power: 0 W
    storage: {{write_bandwidth: 1 GB/s}}
    pools: [{{name: p, node: hgx-h100-8, nodes: 6}}]
scheduling: {{policy: fcfs, placement: lowest-numbered}}
workloads:
  - kind: training
    name: run
    model: llama-3.1-8b
    steps: 5000
    gpus: 16
    context: 8192
    global_batch: 16
    mfu: {MFU!r}
    checkpoint: {{every: 1000 s, mode: async, stall: 0 s}}
"""


def faults(*moments_s: float) -> str:
    """A node of the run fails at each moment; it goes on with the lowest free ones."""
    nodes = (0, 2, 3)
    steps = ", ".join(
        f"{{kind: node-fault, at: {at_s!r} s, node: here.p.{node}, lasts: 1 d}}"
        for at_s, node in zip(moments_s, nodes, strict=False)
    )
    return f"script=[{steps}]"


@pytest.mark.parametrize(
    ("moments_s", "lost_s"),
    [
        # 150 s after the checkpoint of 2000 s it is durable.
        ((2150.0,), 150.0),
        # 50 s after it, it is not: back to the one of 1000 s.
        ((2050.0,), 1050.0),
        # Again 50 s later: the one of 1000 s has long been durable, so only those 50 s go.
        ((2050.0, 2100.0), 1100.0),
        # And at the same moment once more nothing goes.
        ((2050.0, 2050.0), 1050.0),
        # 1050 s after that, the first checkpoint since is still being written.
        ((2050.0, 3100.0), 1050.0 + 1050.0),
    ],
)
def test_only_what_is_not_durable_is_lost(drill, moments_s, lost_s):
    """The run does a second of work a second and starts again at once on a free node, so it ends
    later by what it lost.
    """
    run = drill(SCENARIO, faults(*moments_s))
    job = run.job("run")
    assert job["lost_gpu_seconds"] == pytest.approx(16 * lost_s, rel=1e-9)
    assert job["finished_s"] == pytest.approx(10_000.0 + lost_s, abs=3e-6)
    assert job["restarts"] == len(moments_s)
    assert job["work_done"] == pytest.approx(5000 * 16 * 8192, rel=1e-12)
    run.books()
