"""Drill: replicas that start cold, drain, fail, are stopped and are bounded - the corners."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.catalog.shelf import Catalog
from simulator.decisions import Ceiling, Scale, Stop
from simulator.foundation.time_grid import TICK_S, Priority
from simulator.llm.architecture import Architecture
from simulator.performance.serving import prefill_pairs, serving_profile
from tests.drills.one_service import one_service

#: Two nodes; a replica takes one. A request every 10 s from 5 s on, 500 tokens in and 3000 out.
SCENARIO = one_service(
    """
    model: llama-3.1-8b
    tensor_parallel: 8
    replicas: 2
    router: round-robin
    demand: {requests: 0.1 per s, arrivals: constant}
    lengths: {prompt_mean: 500, output_mean: 2500}
    cold_start: 100 s
    """,
    duration="1200 s",
    nodes=2,
)
SCALES = SCENARIO.replace("replicas: 2", "replicas: {min: 1, max: 2, autoscale: queue}")


def lone_s() -> float:
    """A request alone on a replica: its prompt's iteration, and 2499 steps over a growing context."""
    catalog = Catalog.shipped()
    engine = catalog.engine("vllm-v1")
    iteration = serving_profile(
        Architecture.from_spec(catalog.model("llama-3.1-8b")),
        catalog.gpu("h100-sxm"),
        tensor_parallel=8,
        cpu_overhead_s=engine.cpu_overhead_s,
        cpu_overhead_per_sequence_s=engine.cpu_overhead_per_sequence_s,
    ).iteration
    first_ps = iteration.iteration_ps(500, 1, 0, prefill_pairs(500))
    return (first_ps + iteration.decode_ps(2499, 1, 500)) / 1e12


def tick_after(at_s: float) -> float:
    return (math.floor(at_s / TICK_S) + 1) * TICK_S


def decide(at_s: float, *decisions):
    """Something decides, as a policy would."""
    return at_s, Priority.CONTROL, lambda engine: [engine.decide(one, by="drill") for one in decisions]


def scale(at_s: float, replicas: int):
    return decide(at_s, Scale("chat", "", replicas))


def fails(at_s: float, node: int, lasts_s: float):
    return at_s, Priority.FAILURE, lambda engine: engine.failures.fault(0, node, lasts_s)


def request(run, arrived_s: float) -> dict:
    rows = run.sink.columns("requests")
    where = int(np.flatnonzero(np.asarray(rows["arrived_s"]) == arrived_s)[0])
    return {name: values[where] for name, values in rows.items()}


def life(run, number: int) -> tuple[str, float, float]:
    job = run.job(f"chat/{number}")
    return job["state"], job["started_s"], job["finished_s"]


def balanced(run) -> dict[str, float]:
    """The service's counters, once the audit has compared what came in with what went out."""
    run.books()
    return run.record.services[0].counters


def test_growing_while_one_drains_waits_for_its_gpus(drill):
    """Both replicas serve in turn; the request of 295 s is the second one's. Told at 300 s to be
    one, it drains until that request is done, T = 7.6 s after its arrival, and goes at the next
    tick. Told at 301 s to be two again, the service asks for a third replica, which waits for
    the GPUs that the second still holds, and is warm 100 s after that.
    """
    run = drill(SCALES, "duration=850 s", acts=(scale(50.0, 2), scale(300.0, 1), scale(301.0, 2)))
    done_s = 295.0 + lone_s()
    assert 302.0 < done_s < 303.0
    row = request(run, 295.0)
    assert (row["replica"], row["state"]) == (1, "ok")
    assert row["e2e_s"] == pytest.approx(lone_s(), rel=1e-9)
    gone_s = tick_after(done_s)
    assert life(run, 1) == ("done", 50.0, gone_s)
    assert life(run, 2)[:2] == ("running", gone_s)
    assert run.waits("chat/2") == [("capacity", "capacity", 301.0, gone_s)]
    # Until the third is warm all requests are the first one's.
    rows = run.sink.columns("requests")
    arrived_s, replica = np.asarray(rows["arrived_s"]), np.asarray(rows["replica"])
    between = (arrived_s > 300.0) & (arrived_s < gone_s + 100.0)
    assert set(replica[between].tolist()) == {0}
    assert 2 in replica[(arrived_s > gone_s + 100.0) & (arrived_s < 600.0)]
    assert balanced(run)["retried"] == 0


def test_what_does_not_serve_yet_goes_at_once(drill):
    """A second replica, asked for at 10 s, is loading at 50 s: told to be one, it gives its GPUs
    back at once. If another job holds the node, it waits for it at 50 s, and leaves the queue.
    """
    acts = (scale(10.0, 2), scale(50.0, 1))
    run = drill(SCALES, acts=acts)
    assert life(run, 1) == ("killed", 10.0, 50.0)
    assert [row[0] for row in run.segments("chat/1")] == ["starting"]
    assert balanced(run)["requests_out"] > 0
    run = drill(SCALES + "  - {kind: list, name: jobs, jobs: [{id: other, gpus: 8, run: 600 s}]}", acts=acts)
    assert run.job("chat/1")["state"] == "killed"
    assert run.waits("chat/1") == [("capacity", "capacity", 10.0, 50.0)]
    assert run.segments("chat/1") == []
    balanced(run)


def test_headroom_of_a_service_that_scales_is_that_of_the_most_replicas(drill):
    """One of at most two is there at the end; two that are always there have as much left."""
    one = drill(SCALES, "workloads.chat.warm_start=true")
    assert one.job("chat/0")["state"] == "running"
    two = drill(SCENARIO, "workloads.chat.warm_start=true")
    left = [run.record.services[0].summary["headroom_fraction"] for run in (one, two)]
    assert 0.5 < left[1] < 1.0
    assert left[0] == pytest.approx(left[1], rel=1e-6)


def test_a_service_that_was_up_before_starts_warm_and_later_ones_cold(drill):
    """With `warm_start` both replicas serve from 0 s. Node 1 fails at 50 s for 25 s; the replica
    that takes the place starts at 75 s and is warm at 175 s, as any other.
    """
    run = drill(SCENARIO, "workloads.chat.warm_start=true", acts=(fails(50.0, 1, 25.0),))
    assert {row[0] for row in run.segments("chat/0")} == {"running"}
    assert request(run, 5.0)["prefill_started_s"] == 5.0
    assert run.segments("chat/2")[0][:3] == ("starting", 75.0, 175.0)
    assert balanced(run)["failed"] == 0


def test_a_failure_while_starting_starts_another(drill):
    """Node 1 fails at 50 s under the second replica, half way to warm, until 75 s. Its successor
    asks at 50 s, starts at 75 s and is warm at 175 s.
    """
    run = drill(SCENARIO, acts=(fails(50.0, 1, 25.0),))
    assert life(run, 1) == ("failed", 0.0, 50.0)
    assert run.job("chat/1")["restarts"] == 1
    assert life(run, 2)[:2] == ("running", 75.0)
    assert run.waits("chat/2") == [("down", "down", 50.0, 75.0)]
    assert run.segments("chat/2")[0][:3] == ("starting", 75.0, 175.0)
    assert balanced(run)["retried"] == 0


def test_a_failure_while_draining_loses_its_requests_and_no_more(drill):
    """The second replica drains from 295.5 s with the request of 295 s. Its node fails at 296 s: the
    request begins again on the first, which is idle, and is done T later; nobody takes the lost
    replica's place, because it was not wanted any more.
    """
    run = drill(SCALES, acts=(scale(50.0, 2), scale(295.5, 1), fails(296.0, 1, 50.0)))
    row = request(run, 295.0)
    assert (row["state"], row["replica"]) == ("retried", 0)
    assert row["finished_s"] == pytest.approx(296.0 + lone_s(), rel=1e-9)
    assert life(run, 1) == ("failed", 50.0, 296.0)
    assert "chat/2" not in run.record.jobs.job_id
    counters = balanced(run)
    assert (counters["retried"], counters["failed"]) == (1, 0)
    assert 0 < counters["wasted_tokens"] < 2500


def test_a_failure_at_the_instant_of_the_last_request_finds_nothing_to_lose(drill):
    """The node fails at the very tick at which the drained replica would give its GPUs back."""
    gone_s = tick_after(295.0 + lone_s())
    run = drill(SCALES, acts=(scale(50.0, 2), scale(300.0, 1), fails(gone_s, 1, 50.0)))
    assert life(run, 1) == ("done", 50.0, gone_s)
    assert request(run, 295.0)["state"] == "ok"
    assert balanced(run)["retried"] == 0


def test_a_ceiling_goes_below_the_minimum_and_lifts_again(drill):
    """Two replicas, always. From 200 s on 8 GPUs at most: the newer one drains. No bound from
    400 s: it comes back as a third, warm at 500 s. None at all from 600 s, 8 GPUs from 800 s:
    one replica, asked for at 800 s and warm at 900 s, answers what waited since 600 s.
    """
    bounds = ((200.0, 8), (400.0, None), (600.0, 0), (800.0, 8))
    run = drill(SCENARIO, acts=tuple(decide(at_s, Ceiling("service:chat", gpus)) for at_s, gpus in bounds))
    state, _, finished_s = life(run, 1)
    assert (state, 200.0 <= finished_s < 208.0) == ("done", True)
    assert life(run, 2)[:2] == ("done", 400.0)
    assert run.segments("chat/2")[0][:3] == ("starting", 400.0, 500.0)
    for number in (0, 2):
        assert 600.0 <= life(run, number)[2] < 608.0
    assert life(run, 3)[:2] == ("running", 800.0)
    assert "chat/4" not in run.record.jobs.job_id
    # The newer of the two that served at 595 s answered it; the next one waited for the last.
    waited = request(run, 605.0)
    assert (waited["replica"], waited["prefill_started_s"]) == (3, 900.0)
    assert balanced(run)["failed"] == 0
    assert [row[2:] for row in run.events("decision")] == [
        ("Ceiling", "service:chat", "applied", 8.0),
        ("Ceiling", "service:chat", "applied", pytest.approx(math.nan, nan_ok=True)),
        ("Ceiling", "service:chat", "applied", 0.0),
        ("Ceiling", "service:chat", "applied", 8.0),
    ]


def test_scaling_against_a_ceiling_or_a_bound_is_refused(drill):
    """Never above the ceiling, never outside what the scenario says."""
    run = drill(
        SCALES,
        acts=(decide(200.0, Ceiling("service:chat", 8), *(Scale("chat", "", n) for n in (2, 3, 0))),),
    )
    rows = run.sink.columns("events")
    refusals = [why for why, how in zip(rows["reason"], rows["outcome"], strict=True) if how == "refused"]
    assert refusals == [
        "a ceiling of 1 replicas holds",
        "3 replicas lie outside 1 to 2",
        "0 replicas lie outside 1 to 2",
    ]
    balanced(run)


def test_a_replica_that_is_stopped_is_replaced_if_it_shall_be(drill):
    """Killed at 300 s with the request of 295 s on it, `then: requeue`: another takes its place.
    Told to stop again it is going already; a replica moves neither to a site nor to a queue.
    """
    run = drill(
        SCENARIO,
        acts=(
            decide(300.0, Stop(1, "kill", "requeue")),
            decide(500.0, Stop(2, "drain", "end"), Stop(2, "drain", "end")),
        ),
    )
    assert life(run, 1) == ("killed", 0.0, 300.0)
    assert request(run, 295.0)["state"] == "retried"
    assert life(run, 2)[1] == 300.0
    assert life(run, 2)[0] == "done"
    assert "chat/3" not in run.record.jobs.job_id
    assert [row[4] for row in run.events("decision")] == ["applied", "applied", "refused"]
    assert balanced(run)["retried"] == 1


def test_a_node_takes_all_its_replicas_at_once(drill):
    """Eight replicas of one GPU on each node, and 40 requests a second of some 4 s each: about 80
    are on node 1 when it fails at 300 s. They begin again on node 0, once each: none goes through
    the seven neighbours that fail at the same instant and gives up after four attempts.
    """
    run = drill(
        SCENARIO,
        "workloads.chat.tensor_parallel=1",
        "workloads.chat.replicas=16",
        "workloads.chat.demand.requests=40 per s",
        "workloads.chat.lengths={prompt_mean: 500, output_mean: 500}",
        "duration=400 s",
        acts=(fails(300.0, 1, 50.0),),
    )
    rows = run.sink.columns("requests")
    again = np.asarray(rows["preemptions"])
    assert set(again.tolist()) == {0, 1}
    lost = int(again.sum())
    assert lost > 60
    counters = balanced(run)
    assert (counters["retried"], counters["failed"]) == (lost, 0)
    replica = np.asarray(rows["replica"])[again == 1]
    assert set(replica.tolist()) == set(range(8))
    # They are dealt out in turn, so nobody gets more than one above the others.
    counts = np.bincount(replica, minlength=8)
    assert counts.max() - counts.min() <= 1


def test_what_waited_is_dealt_out_to_all_that_come(drill):
    """100 s of requests wait when both replicas become warm at once: five each."""
    run = drill(SCENARIO, "duration=200 s")
    rows = run.sink.columns("requests")
    early = np.asarray(rows["arrived_s"]) < 100.0
    assert np.bincount(np.asarray(rows["replica"])[early]).tolist() == [5, 5]
    assert set(np.asarray(rows["prefill_started_s"])[early].tolist()) == {100.0}
    balanced(run)


def test_two_services_leave_each_other_alone(drill):
    """A second service beside the first, with failures and scaling of its own: the first one's
    requests, replicas and watts are what they are without it.
    """
    alone = drill(SCENARIO, "workloads.chat.replicas=1")
    both = drill(
        SCENARIO.replace("nodes: 2", "nodes: 3").replace("replicas: 2", "replicas: 1")
        + """
  - kind: service
    name: other
    model: llama-3.1-8b
    tensor_parallel: 8
    replicas: 2
    demand: {requests: 7 per s}
    lengths: {prompt_mean: 800, prompt_median: 500, output_mean: 150, output_median: 100}
    cold_start: 33 s
""",
        acts=(fails(333.0, 2, 40.0),),
    )
    assert both.record.services[1].counters["retried"] > 0
    for name in ("arrived_s", "first_token_s", "finished_s", "replica"):
        one, two = (
            [
                value
                for value, service in zip(
                    run.sink.columns("requests")[name], run.sink.columns("requests")["service"], strict=True
                )
                if service == "chat"
            ]
            for run in (alone, both)
        )
        assert one == two
    assert alone.segments("chat/0") == both.segments("chat/0")
    alone.books()
    both.books()


def test_a_replica_has_the_tokens_it_answered_with(drill):
    """Round robin from 100 s on: what waited and what came is dealt out in turn, 2500 tokens each;
    the two rows of the jobs add up to the service's own count.
    """
    run = drill(SCENARIO)
    rows = run.sink.columns("requests")
    served = np.asarray(rows["output_tokens"])[np.isin(rows["state"], ("ok", "retried"))].sum()
    tokens = [run.job(f"chat/{number}")["tokens"] for number in (0, 1)]
    assert all(count % 2500 == 0 and count > 0 for count in tokens)
    assert sum(tokens) == served == run.record.services[0].counters["tokens_out"]
