"""Drill: KV of a service that prefills and decodes apart, beside training on an oversubscribed fabric."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import BuildError
from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout
from simulator.network.spread import Spread
from simulator.performance.serving import prefill_pairs, serving_profile
from simulator.performance.training import TrainingProfile, estimate

#: Four nodes, of 8 ports of 12.5 GB/s each. Node 0 prefills, 1 and 2 train, 3 decodes.
SCENARIO = """
title: KV beside gradients
start: 2024-01-01 00:00 UTC
duration: 900 s
sites:
  - name: here
    grid: {intensity: 100 g/kWh, price: 50 USD/MWh}
    cooling: {plant: none}
    network_power: 0 W
    fabric: {type: fat-tree, link: 100 Gb/s, nodes_per_leaf: 2, oversubscription: "1:4"}
    pools:
      - {name: first, node: hgx-h100-8, nodes: 1}
      - {name: middle, node: hgx-h100-8, nodes: 2}
      - {name: last, node: hgx-h100-8, nodes: 1}
scheduling:
  policy: fcfs
  queues:
    - {name: training, pools: [middle]}
    - {name: serving, pools: [first, last]}
workloads:
  - kind: training
    name: run
    model: llama-3.1-8b
    steps: 1_000_000
    gpus: 16
    context: 8192
    global_batch: 8
    parallelism: {tp: 8, zero_stage: 0}
    queue: training
  - kind: service
    name: chat
    model: llama-2-13b
    tensor_parallel: 8
    replicas: 2
    disaggregated: {prefill: 1, decode: 1}
    demand: {requests: 2 per s, arrivals: constant}
    lengths: {prompt_mean: 4000, output_mean: 16}
    cold_start: 0 s
    queue: serving
script:
  - {kind: node-fault, at: 600 s, node: here.last.0, lasts: 100 s}
"""

#: KV of one prompt: 2 (key, value) x 40 layers x 40 heads x 128 x 2 B for each of 4000 tokens.
KV_BYTES = 4000 * 2 * 40 * 40 * 128 * 2
#: What one replica's or one node's eight ports carry. [B/s]
PORTS = 8 * 12.5e9
#: What one leaf's two nodes have upwards, at one to four. [B/s]
UPLINK = 2 * PORTS / 4
TOKENS = 8 * 8192


def training(leaves: int) -> TrainingProfile:
    """Two copies of Llama 3.1 8B, one a node."""
    catalog = Catalog.shipped()
    node = catalog.node("hgx-h100-8")
    layout = Layout(tensor_parallel=8, data_parallel=2, global_batch=8, context_tokens=8192, zero_stage=0)
    architecture = Architecture.from_spec(catalog.model("llama-3.1-8b"))
    return estimate(
        architecture,
        layout,
        catalog.gpu(node.gpu),
        node,
        Spread(16, 8, 2, leaves, 2 // leaves),
        nic_bandwidth_bytes_per_s=12.5e9,
    )


def first_token_s(transfer_bytes_per_s: float) -> float:
    """A lone request: the prompt's iteration, the transfer, and one decode step over 4000 tokens."""
    catalog = Catalog.shipped()
    one = serving_profile(
        Architecture.from_spec(catalog.model("llama-2-13b")),
        catalog.gpu("h100-sxm"),
        tensor_parallel=8,
        cpu_overhead_s=catalog.engine("vllm-v1").cpu_overhead_s,
        cpu_overhead_per_sequence_s=catalog.engine("vllm-v1").cpu_overhead_per_sequence_s,
    ).iteration
    prompt_ps = one.iteration_ps(4000, 1, 0, prefill_pairs(4000))
    # The last token of the prompt is computed anew where it is decoded.
    decode_ps = one.iteration_ps(1, 1, 0, prefill_pairs(1, 3999))
    return (prompt_ps + decode_ps) / 1e12 + KV_BYTES / transfer_bytes_per_s


def ttft_s(run, start_s: float, end_s: float) -> np.ndarray:
    rows = run.sink.columns("requests")
    arrived_s = np.asarray(rows["arrived_s"])
    return np.asarray(rows["ttft_s"])[(arrived_s >= start_s) & (arrived_s < end_s)]


def test_kv_and_gradients_share_the_uplinks(drill):
    """Each leaf has 50 GB/s upwards. Training crosses with 8 x 12.5 = 100 GB/s while it talks, so
    alone it gets a share of 1/2. The service is told apart after its first control epoch of
    300 s: 600 prompts of 3.2768 GB are 6.5536 GB/s from leaf 0 to leaf 1. That leaves training
    (50 - 6.5536) / 100 = 0.434464 of its ports, more than its fair part of 1/4 of a moment at
    which all talk, and it slows.

    Transfers find what training leaves on average: with b bytes a GPU and step, a share of
    (50 GB/s - 8 b / step) / 100 GB/s; a transfer takes bytes / (100 GB/s x share).

    At 600 s the decoding node fails for 100 s: no flow, and training has its half again. The
    new replica decodes as the lost one did, once it has taken the prompts that waited for it.
    """
    run = drill(SCENARIO)
    alone, beside = 0.5, (UPLINK - 600 * KV_BYTES / 300.0) / PORTS
    assert beside == pytest.approx(0.434464, rel=1e-12)
    profile = training(leaves=2)
    segments = run.segments("run")
    assert [row[1:3] for row in segments] == [(0.0, 300.0), (300.0, 600.0), (600.0, 700.0), (700.0, 900.0)]
    step_s = {share: profile.at(1.0, share)[0] for share in (alone, beside)}
    expected = [TOKENS / step_s[share] for share in (alone, beside, alone, beside)]
    assert [row[4] for row in segments] == pytest.approx(expected, rel=1e-6)
    assert step_s[beside] > 1.05 * step_s[alone]

    # Shares settle to 1e-7, and so do the seconds that they stretch.
    for share, start_s, end_s in ((alone, 0.0, 300.0), (beside, 300.0, 599.0), (beside, 730.0, 899.0)):
        left = (UPLINK - 8 * profile.flow_bytes_per_step / step_s[share]) / PORTS
        assert 0.25 < left < 1.0
        found = ttft_s(run, start_s, end_s)
        assert len(found) == pytest.approx(2 * (end_s - start_s), abs=1)
        assert found == pytest.approx(first_token_s(PORTS * left), rel=1e-5)
    roles = [job_id for job_id in run.record.jobs.job_id if job_id.startswith("chat/")]
    assert roles == ["chat/0", "chat/1", "chat/2"]
    counters = run.record.services[0].counters
    assert counters["requests_in"] == 1800
    assert counters["failed"] == 0
    run.books()


def test_below_one_leaf_nothing_is_shared(drill):
    """All four nodes hang on one leaf: training keeps its rate for 900 s, whatever the service
    does, and a transfer takes 3.2768 GB / 100 GB/s.
    """
    run = drill(SCENARIO, "sites.here.fabric.nodes_per_leaf=4")
    segments = run.segments("run")
    assert [row[1:3] for row in segments] == [(0.0, 900.0)]
    assert segments[0][4] == pytest.approx(TOKENS / training(leaves=1).at(1.0, 1.0)[0], rel=1e-9)
    assert ttft_s(run, 0.0, 599.0) == pytest.approx(first_token_s(PORTS), rel=1e-9)
    run.books()


def test_a_service_below_one_leaf_leaves_the_uplinks_to_training(drill):
    """Nodes 0 and 1 serve, below leaf 0; 2 and 3 train, below leaf 1: no flow crosses."""
    run = drill(
        SCENARIO,
        "sites.here.pools=[{name: first, node: hgx-h100-8, nodes: 1}, {name: last, node: hgx-h100-8, "
        "nodes: 1}, {name: middle, node: hgx-h100-8, nodes: 2}]",
        "script=[]",
    )
    assert [row[1:3] for row in run.segments("run")] == [(0.0, 900.0)]
    assert ttft_s(run, 0.0, 899.0) == pytest.approx(first_token_s(PORTS), rel=1e-9)
    run.books()


def test_the_flow_is_declared_anew_when_it_changed(drill, tmp_path):
    """A log of two prompts a second up to 1200 s and four from then on. The epochs of 600, 900
    and 1200 s tell what the first one told, and nothing happens. The one of 1500 s tells twice
    as much, and training is left (50 - 13.1072) / 100 = 0.368928.
    """
    log = tmp_path / "log.csv"
    arrived_s = np.concatenate((np.arange(0.25, 1200.0, 0.5), np.arange(1200.125, 1801.0, 0.25)))
    log.write_text("\n".join(["arrived_s,prompt_tokens,output_tokens", *(f"{t},4000,16" for t in arrived_s)]))
    trace = SCENARIO.replace("demand: {requests: 2 per s, arrivals: constant}", f"path: {log}")
    run = drill(
        trace.replace("    lengths: {prompt_mean: 4000, output_mean: 16}\n", ""),
        "script=[]",
        "duration=1800 s",
    )
    shares = (0.5, (UPLINK - 2 * KV_BYTES) / PORTS, (UPLINK - 4 * KV_BYTES) / PORTS)
    assert shares[2] == pytest.approx(0.368928, rel=1e-12)
    profile = training(leaves=2)
    segments = run.segments("run")
    assert [row[1] for row in segments] == [0.0, 300.0, 1500.0]
    assert [row[4] for row in segments] == pytest.approx(
        [TOKENS / profile.at(1.0, share)[0] for share in shares], rel=1e-6
    )
    run.books()


def test_kv_does_not_cross_between_sites(drill):
    """Prefill at one site and decode at another is refused: no line is that wide."""
    with pytest.raises(BuildError, match="must be at one site"):
        drill(
            SCENARIO.replace(
                "scheduling:",
                "  - name: there\n    grid: {intensity: 100 g/kWh}\n"
                "    cooling: {plant: none}\n"
                "    pools: [{name: far, node: hgx-h100-8, nodes: 1}]\nscheduling:",
            ),
            "scheduling.queues.serving.pools=[first, far]",
            "script=[]",
        )
