"""Drills: what a failure costs a training run, step by step, and who steps in; answers by hand."""

from __future__ import annotations

import math

import pytest

from simulator.engine.world import Cause
from simulator.foundation.errors import DatahallError, ScenarioError
from simulator.foundation.time_grid import Priority

#: Multiply-adds of Llama 3.1 8B for a token: 32 layers of attention and gated MLP, and the head.
_LAYER = 4096 * (4096 + 1024 + 1024 + 4096) + 3 * 4096 * 14336
_MATMUL = 32 * _LAYER + 4096 * 128256
#: Operations to train on one token with 8192 of context, attention in full.
FLOP = 6 * _MATMUL + 12 * 32 * 4096 * 8192
#: The utilization at which 32 H100 take 2 s for a step of 32 sequences.
MFU = 32 * 8192 * FLOP / (2.0 * 32 * 989.5e12)
#: Parameters, two embeddings among them; norms are left out, as they are in the catalog's count.
PARAMETERS = 32 * _LAYER + 2 * 4096 * 128256

#: 5000 steps of 2 s on four nodes of five or six.
SCENARIO = """
title: What a failure costs
start: 2024-01-01 00:00 UTC
duration: until done
sites:
  - name: here
    grid: {{intensity: 100 g/kWh, price: 50 USD/MWh}}
    cooling: {{plant: none}}
    network_power: 0 W
    {storage}
    pools: [{{name: p, node: hgx-h100-8, nodes: {nodes}, hot_spares: {spares}}}]
scheduling: {{policy: fcfs, placement: lowest-numbered}}
failures: {failures}
workloads:
  - kind: training
    name: run
    model: llama-3.1-8b
    steps: 5000
    gpus: 32
    context: 8192
    global_batch: 32
    mfu: {mfu!r}
    checkpoint: {checkpoint}
    {more}
script: [{script}]
"""


def scenario(**changes: object) -> str:
    values: dict[str, object] = {
        "storage": "",
        "nodes": 5,
        "spares": 1,
        "failures": "none",
        "mfu": MFU,
        "checkpoint": "{every: 1000 s, stall: 0 s}",
        "more": "",
        "script": "{kind: node-fault, at: 2500 s, node: here.p.1, lasts: 100 h}",
    }
    return SCENARIO.format(**(values | changes))


def phases(run) -> list[tuple[str, float, float, int]]:
    """(phase, begin, end, GPUs) of the run, times rounded to the microsecond."""
    return [
        (phase, round(start_s, 4), round(end_s, 4), gpus)
        for phase, start_s, end_s, gpus, _, _ in run.segments("run")
    ]


def by_use(run) -> dict[str, float]:
    from simulator.accounting.gpu_time import gpu_time

    rows = gpu_time(run.record)
    return dict(zip(rows["use"], rows["gpu_seconds"].tolist(), strict=True))


RECOVERY = "recovery: {detect: 60 s, diagnose: 120 s, launch: 180 s, warm_up: 40 s"


def test_noticing_diagnosis_and_restart_follow_each_other(drill):
    """At 2500 s a node breaks; back to 2220 s. 60 s unnoticed, 120 s of diagnosis on the 24 GPUs that
    are left, then a spare: 180 + 40 s. 8000 s of work are left at 2900 s: done at 10 900 s.
    """
    run = drill(scenario(more=RECOVERY + "}"))
    assert phases(run) == [
        ("starting", 0.0, 220.0, 32),
        ("running", 220.0, 2500.0, 32),
        ("detecting", 2500.0, 2560.0, 24),
        ("diagnosing", 2560.0, 2680.0, 24),
        ("recovering", 2680.0, 2900.0, 32),
        ("running", 2900.0, 10_900.0, 32),
    ]
    # Started at 220 s, the checkpoints lie at 1220 and 2220 s: 280 s are lost, 8000 s are left.
    assert run.job("run")["lost_gpu_seconds"] == pytest.approx(32 * 280.0, rel=1e-9)
    use = by_use(run)
    assert use["detecting"] == pytest.approx(24 * 60.0)
    assert use["diagnosing"] == pytest.approx(24 * 120.0)
    assert use["restarting"] == pytest.approx(32 * (220.0 + 220.0))
    assert use["productive"] == pytest.approx(32 * 10_000.0, rel=1e-9)
    assert sum(use.values()) == pytest.approx(run.books().gpu_seconds["allocated"], rel=1e-12)


def test_a_checkpoint_that_is_read_back_takes_its_time(drill):
    """14 bytes for each of 8.03e9 parameters at 2 GB/s: 56.2 s on top of every restart."""
    storage = "storage: {write_bandwidth: 1000 GB/s, read_bandwidth: 2 GB/s}"
    run = drill(scenario(storage=storage, more="recovery: {launch: 100 s}"))
    load_s = 14 * PARAMETERS / 2e9
    assert load_s == pytest.approx(56.2, abs=0.1)
    assert run.job("run")["finished_s"] == pytest.approx(2500.0 + 100.0 + load_s + 8000.0, abs=1e-3)


def test_a_run_may_queue_again_instead(drill):
    """All 32 GPUs go back at 2680 s; four of five nodes are sound, so it starts again at once."""
    run = drill(scenario(more=RECOVERY + ", nodes: requeue}", spares=0))
    assert [row[:2] for row in phases(run)][2:5] == [
        ("detecting", 2500.0),
        ("diagnosing", 2560.0),
        ("starting", 2680.0),
    ]
    assert run.job("run")["finished_s"] == pytest.approx(2680.0 + 220.0 + 8000.0, abs=1e-4)


@pytest.mark.parametrize(
    ("wrong_s", "lost_s"),
    [
        (0.0, 500.0),
        # The checkpoint of 2000 s is 500 s old: 400 s back is after it.
        (400.0, 500.0),
        # Of 600 s back it was already wrong, the one of 1000 s was not.
        (600.0, 1500.0),
        (1501.0, 2500.0),
        # Farther back than the run itself: it begins again.
        (90_000.0, 2500.0),
    ],
)
def test_wrong_results_spoil_the_checkpoints_of_their_time(drill, wrong_s, lost_s):
    cause = Cause("wrong", "node", 0.0, 0.0, 0.0, 1e6, undetected_s=wrong_s)

    def strike(engine):
        engine.failures.strike(0, 1, cause, 1e6)

    run = drill(scenario(script=""), acts=[(2500.0, Priority.FAILURE, strike)])
    assert run.job("run")["lost_gpu_seconds"] == pytest.approx(32 * lost_s, rel=1e-9)
    assert run.job("run")["finished_s"] == pytest.approx(10_000.0 + lost_s, abs=1e-4)


def test_replicas_that_did_not_break_go_on_and_lose_nothing(drill):
    """2500 s on 32 GPUs; 100 s of stall; the replica is back 600 s after the fault, so 500 s on 24
    GPUs do 375 s of work; 7125 s are left at 3100 s: done at 10 225 s.
    """
    more = "recovery: {launch: 600 s}\n    elastic: {minimum_gpus: 16, restore: peers, stall: 100 s}"
    run = drill(scenario(more=more, failures="none"))
    first = 600.0  # the first launch
    assert phases(run) == [
        ("starting", 0.0, first, 32),
        ("running", first, 2500.0, 32),
        ("recovering", 2500.0, 2600.0, 24),
        ("running", 2600.0, 3100.0, 24),
        ("running", 3100.0, first + 10_225.0, 32),
    ]
    assert run.job("run")["lost_gpu_seconds"] == 0.0
    run.books()


def test_maintenance_is_announced_and_loses_nothing(drill):
    """Every 4000 s the next of four nodes is out for 500 s. The run holds 0 to 2 (24 GPUs); at 2300 s
    it saves itself and takes node 3, at 6300 s node 1 is out and it takes node 0. Done at 10 000 s.
    """
    text = (
        scenario(
            nodes=4,
            spares=0,
            failures="{maintenance: {every: 4000 s, first: 2300 s, lasts: 500 s, nodes: 25 %}}",
            script="",
        )
        .replace("gpus: 32", "gpus: 24")
        .replace("global_batch: 32", "global_batch: 24")
    )
    run = drill(text)
    job = run.job("run")
    assert job["lost_gpu_seconds"] == 0.0
    assert job["restarts"] == 2
    assert job["finished_s"] == pytest.approx(10_000.0, abs=1e-4)
    outages = run.record.outages
    assert list(
        zip(outages["node"], outages["start_s"], outages["end_s"], outages["planned"], strict=True)
    ) == [
        (0, 2300.0, 2800.0, 1),
        (1, 6300.0, 6800.0, 1),
    ]
    assert run.books().gpu_seconds["maintenance"] == pytest.approx(2 * 8 * 500.0, rel=1e-12)
    assert [row[2:4] for row in run.events("repair")] == [
        ("maintenance window", "here.p.0"),
        ("maintenance window", "here.p.1"),
    ]


def test_a_node_that_breaks_too_often_leaves(drill):
    """Twice within an hour: the second time it is away for two hours and not for 10 s."""
    faults = ", ".join(
        f"{{kind: node-fault, at: {at_s} s, node: here.p.4, lasts: 10 s}}" for at_s in (100, 5000, 7000, 8000)
    )
    ejection = "{ejection: {incidents: 2, within: 1 h, replacement: 2 h}}"
    run = drill(scenario(script=faults, spares=0, failures=ejection).replace("until done", "20_000 s"))
    outages = run.record.outages
    # 100 s is forgotten at 5000 s; 7000 s is the second within the hour; then it is away.
    assert list(zip(outages["start_s"], outages["end_s"], strict=True)) == [
        (100.0, 110.0),
        (5000.0, 5010.0),
        (7000.0, 14_200.0),
    ]
    assert [(row[0], row[2], row[3]) for row in run.events("decision")] == [(7000.0, "Eject", "here.p.4")]
    assert {row[2] for row in run.events("repair")} == {"node-fault"}


def test_young_saves_every_root_of_twice_the_stop_times_the_mean_time(drill):
    """sqrt(2 x 100 s x 50 000 s) = 3162.3 s, 1581 steps of 2 s: stops after 3162, 6324 and 9486 s of
    work, 10 300 s in all. Daly's is longer by a third of the root of 100 / 100 000, less 100 s:
    3162.28 (1 + 0.0105409 + 0.0001111) - 100 = 3095.96 s, 1548 steps, as many stops.
    """
    for policy, every_s in (("young", 3162.0), ("daly", 3096.0)):
        saves = f"{{policy: {{policy: {policy}, mean_time: 50_000 s}}, stall: 100 s}}"
        run = drill(scenario(checkpoint=saves, script=""))
        assert run.job("run")["finished_s"] == pytest.approx(10_300.0, abs=1e-4)
        assert run.job("run")["stalled_gpu_seconds"] == pytest.approx(32 * 300.0, rel=1e-9)
        law = run.record.reliability[0]
        assert 2.0 * round(law.interval_s / 2.0) == every_s


def test_two_runs_that_save_to_one_storage_write_longer(drill):
    """Each writes w = 112.4 s alone and works 1000 s between. With u = k w / (1000 s + k w) of its time
    spent writing and k = 1 + u of the other: k^2 w + k (1000 s - 2 w) - 1000 s = 0.
    """
    text = scenario(
        nodes=8,
        spares=0,
        script="",
        checkpoint="{every: 1000 s}",
        storage="storage: {write_bandwidth: 1 GB/s}",
    )
    i, j = text.index("  - kind: training"), text.index("script:")
    twice = text[:j] + text[i:j].replace("name: run", "name: other") + text[j:]
    run = drill(twice)
    w = 14 * PARAMETERS / 1e9
    b = 1000.0 - 2.0 * w
    stretch = (-b + math.sqrt(b * b + 4.0 * w * 1000.0)) / (2.0 * w)
    assert 1.09 < stretch < 1.12
    for name in ("run", "other"):
        assert run.job(name)["finished_s"] == pytest.approx(10_000.0 + 9 * stretch * w, abs=1e-3)
    alone = drill(text)
    assert alone.job("run")["finished_s"] == pytest.approx(10_000.0 + 9 * w, abs=1e-3)


def test_an_asynchronous_checkpoint_waits_for_the_last_one(drill):
    """112.4 s to be durable and 50 s asked for: one in flight, so every 112.4 s, 56 steps."""
    text = scenario(
        script="",
        checkpoint="{every: 50 s, mode: async, stall: 1 s}",
        storage="storage: {write_bandwidth: 1 GB/s}",
    )
    run = drill(text)
    stops = math.ceil(5000 / 56) - 1
    assert run.job("run")["finished_s"] == pytest.approx(10_000.0 + stops, abs=1e-3)


def test_a_run_that_never_keeps_anything_says_so(drill):
    """Its software stops every 10 s, and it saves itself every hour."""
    cause = Cause("software", "job", 0.0, detect_s=0.0, recover_s=-1.0, repair_s=0.0)

    def strike(engine):
        engine.failures.strike(0, 0, cause, 0.0)

    acts = [(10.0 * k, Priority.FAILURE, strike) for k in range(1, 1002)]
    text = scenario(script="", checkpoint="{every: 1 h, stall: 0 s}")
    with pytest.raises(DatahallError, match="hardly ever be done: job 'run' failed 1,000 times in a row"):
        drill(text, acts=acts)
    # With an end in sight it is only told.
    run = drill(text.replace("until done", "20_000 s"), acts=acts)
    assert run.record.notes == [
        "job 'run' failed 1,000 times in a row without keeping any work "
        "(0 of 1.31072e+09 done, restart 1,000)"
    ]


def test_a_run_whose_nodes_are_never_up_together_says_so(drill):
    failures = "{preset: llama3-2024, rate_scale: 1e6}"
    text = scenario(script="", checkpoint="{every: 1 h, stall: 0 s}", failures=failures)
    with pytest.raises(DatahallError, match="10,000 failures on, no job has got any further; job 'run' is"):
        drill(text)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("failures={lemons: {share: 1 %, rate_scale: 5}}", "no effect: there are no failures"),
        ("workloads.run.checkpoint.policy=young", "either every or policy"),
        ("workloads.run.checkpoint.bytes_per_parameter=12", "no effect: `stall` is given"),
        ("workloads.run.elastic={minimum_gpus: 8, restore: peers}", "give stall with restore: peers"),
        ("failures={maintenance: {every: 1 h, lasts: 2 h, nodes: 5 %}}", "must close before the next"),
    ],
)
def test_what_has_no_effect_is_refused(drill, more, said):
    with pytest.raises(ScenarioError, match=said):
        drill(scenario(), more)


def test_while_nobody_noticed_the_others_spin_in_a_collective(drill):
    """Detection draws the watts of waiting in a collective, diagnosis those of a model that stands."""
    text = scenario(more=RECOVERY + "}").replace(f"    mfu: {MFU!r}\n", "    parallelism: {tp: 8, dp: 4}\n")
    run = drill(text)
    from simulator.catalog.shelf import Catalog
    from simulator.performance.gpu_power import gpu_power

    catalog = Catalog.shipped()
    power, node = gpu_power(catalog.gpu("h100-sxm")), catalog.node("hgx-h100-8")
    watts = {phase: power_w for phase, _, _, _, _, power_w in run.segments("run")}
    spinning_w = power.communication_w + node.host_active_w / 8
    assert watts["detecting"] == pytest.approx(24 * spinning_w, rel=1e-9)
    assert watts["diagnosing"] == pytest.approx(24 * (power.loaded_idle_w + node.host_idle_w / 8), rel=1e-9)
    assert watts["diagnosing"] < watts["detecting"] < watts["running"]
