"""How fast services run compiled: CPU seconds, medians; prints figures, fails nothing.

Run with ``python -m pytest -m benchmark -s tests/benchmarks/test_serving_speed.py``. Lengths are
those of the Azure conversation trace of 2023, arrivals Poisson at 70 % of what replicas sustain.
"""

from __future__ import annotations

import dataclasses
import math
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from simulator.llm.architecture import Architecture
from simulator.performance.serving import serving_profile
from simulator.scenario import load
from simulator.serving import kernel
from simulator.serving.batch_rule import ENGINES, batch_rule
from simulator.serving.compiled_crowd import CompiledCrowd
from simulator.serving.crowd import AddReplica, SetWatch, Stop, Watch
from simulator.serving.load_table import AnyOrder, drain_rate_per_s
from simulator.serving.routers import LeastOutstanding, PrefixAware
from simulator.serving.service_rules import ServiceRules
from simulator.serving.twin import TwinCrowd
from simulator.workload.request_log import read_requests
from simulator.workload.requests import RequestTable

pytestmark = pytest.mark.benchmark

LOAD = 0.7
RULE = batch_rule("vllm-v1", max_sequences=256, token_budget=8192, block_tokens=16, watermark_fraction=0.0)


class Resampled:
    """Poisson arrivals with lengths drawn in pairs from a log."""

    end_s = math.inf

    def __init__(self, log, count, rate_per_s):
        self.log, self.left, self.rate_per_s = log, count, rate_per_s
        self.rng, self.last_s = np.random.default_rng(2), 0.0

    def next_block(self, count):
        count = min(count, self.left)
        self.left -= count
        arrived_s = self.last_s + np.cumsum(self.rng.exponential(1.0 / self.rate_per_s, count))
        self.last_s = float(arrived_s[-1]) if count else self.last_s
        chosen = self.rng.integers(0, len(self.log), count)
        log = self.log
        return RequestTable(arrived_s, log.prompt_tokens[chosen], log.output_tokens[chosen], log.tier[chosen])


@pytest.fixture(scope="module")
def replica(shared_data):
    """The log, a replica of Llama 70B on four H100, and the requests a second that it sustains."""
    log = read_requests(shared_data / "serving" / "traces" / "azure2023_conv.csv.gz", ("standard",))
    catalog = load("quickstart").catalog
    architecture = Architecture.from_spec(catalog.model("llama-3.1-70b"))
    profile = serving_profile(architecture, catalog.gpu("h100-sxm"), tensor_parallel=4)

    def add(number, blocks=20_000):
        return AddReplica(number, "here", "mixed", 4, profile, blocks)

    rules = ServiceRules("chat", rule=RULE)
    return log, add, drain_rate_per_s(rules, [add(0)], AnyOrder(log), np.random.default_rng(1))


def served(form, replica, count, replicas=1, blocks=20_000, **rules):
    """Return (CPU seconds, the crowd) of so many requests, rows taken away as they come."""
    log, add, capacity_per_s = replica
    rate_per_s = LOAD * capacity_per_s * replicas
    crowd = form(ServiceRules("chat", **{"rule": RULE, **rules}), Resampled(log, count, rate_per_s))
    for number in range(replicas):
        crowd.apply(add(number, blocks), 0.0)
    begun_s = time.process_time()
    while (stop := crowd.advance(1.02 * count / rate_per_s + 60.0)) is not Stop.REACHED:
        if stop is Stop.ROWS_FULL:
            crowd.take_rows()
    return time.process_time() - begun_s, crowd


def test_the_kernel_beside_the_twin(replica, monkeypatch):
    """Alone, and with the drawing of requests and the books."""
    served(CompiledCrowd, replica, 1000)
    spent, inner = [0.0], kernel.advance

    def timed(*arguments):
        begun_s = time.process_time()
        why = inner(*arguments)
        spent[0] += time.process_time() - begun_s
        return why

    monkeypatch.setattr(kernel, "advance", timed)
    for blocks in (20_000, 2_000):
        alone, whole = [], []
        for _ in range(5):
            spent[0] = 0.0
            cpu_s, crowd = served(CompiledCrowd, replica, 500_000, blocks=blocks)
            whole.append(500_000 / cpu_s)
            alone.append(500_000 / spent[0])
        lost = crowd.counters()["preempted"]
        print(
            f"\nkernel, {blocks} blocks ({lost:.0f} preempted): {statistics.median(alone):,.0f} requests "
            f"per CPU s; with arrivals and books {statistics.median(whole):,.0f}"
        )
    cpu_s, _ = served(TwinCrowd, replica, 20_000)
    print(f"twin: {20_000 / cpu_s:,.0f}")


@pytest.mark.parametrize("groups", [2, 8])
def test_attention_groups(shared_data, groups):
    """DeepSeek-V3 on eight H200, its attention in groups that go through every pass together."""
    log = read_requests(shared_data / "serving" / "traces" / "azure2023_conv.csv.gz", ("standard",))
    catalog = load("quickstart").catalog
    profile = serving_profile(
        Architecture.from_spec(catalog.model("deepseek-v3")),
        catalog.gpu("h200-sxm"),
        tensor_parallel=8 // groups,
        attention_data_parallel=groups,
        expert_parallel=8,
        precision="fp8",
        most_tokens=groups * RULE.token_budget,
    )

    def add(number, blocks):
        return AddReplica(number, "here", "mixed", 8, profile, blocks)

    rules = ServiceRules("chat", rule=RULE, attention_data_parallel=groups)
    replica = log, add, drain_rate_per_s(rules, [add(0, 20_000)], AnyOrder(log), np.random.default_rng(1))
    served(CompiledCrowd, replica, 1000, attention_data_parallel=groups)
    for form, count in ((CompiledCrowd, 200_000), (TwinCrowd, 4_000)):
        cpu_s, crowd = served(form, replica, count, attention_data_parallel=groups)
        iterations, plans = crowd.steps()
        print(
            f"\n{form.__name__}, {groups} groups: {count / cpu_s:,.0f} requests per CPU s, "
            f"{iterations / plans:.1f} iterations a plan"
        )


#: Prefill and decode replicas of a service that is apart.
APART = ("prefill",) * 4 + ("decode",) * 4

#: KV of a token of Llama 70B in bf16, and four ports of 400 Gb/s a replica. [B, B/s]
SENT = {"kv_bytes_per_token": 2.0 * 80 * 8 * 128 * 2, "transfer_bytes_per_s": 4 * 50e9}


def served_apart(form, replica, count, rate_per_s):
    """Return (CPU seconds, the crowd, seconds simulated) of so many requests, the last of them answered."""
    log, add, _ = replica
    crowd = form(ServiceRules("chat", rule=RULE, **SENT), Resampled(log, count, rate_per_s))
    for number, role in enumerate(APART):
        crowd.apply(dataclasses.replace(add(number), role=role), 0.0)
    begun_s = time.process_time()
    while crowd.counters()["requests_out"] < count:
        if crowd.advance(crowd.now_s + max(10.0, 0.02 * count / rate_per_s)) is Stop.ROWS_FULL:
            crowd.take_rows()
    return time.process_time() - begun_s, crowd, crowd.now_s


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        (
            "static batches",
            dataclasses.replace(ENGINES["static"], max_sequences=64, token_budget=RULE.token_budget * 64),
        ),
        (
            "three drafts",
            dataclasses.replace(RULE, drafts=3, acceptance_fraction=0.7, draft_cost_fraction=0.05),
        ),
    ],
)
def test_other_ways_to_decode(replica, name, rule):
    """At 70 % of what they sustain themselves, beside the twin."""
    log, add, _ = replica
    widest = add(0).profile.iteration.most_tokens
    rule = dataclasses.replace(rule, token_budget=min(rule.token_budget, widest))
    rules = ServiceRules("chat", rule=rule)
    capacity_per_s = drain_rate_per_s(rules, [add(0)], AnyOrder(log), np.random.default_rng(1))
    alike = (log, add, capacity_per_s)
    served(CompiledCrowd, alike, 1000, rule=rule)
    found = [200_000 / served(CompiledCrowd, alike, 200_000, rule=rule)[0] for _ in range(3)]
    cpu_s, _ = served(TwinCrowd, alike, 5_000, rule=rule)
    print(
        f"\n{name}: {statistics.median(found):,.0f} requests per CPU s with arrivals and books, "
        f"twin {5_000 / cpu_s:,.0f}"
    )


def test_prefill_apart_from_decode(replica):
    """Four prefill and four decode replicas at 70 % of what they sustain, kernel and twin."""
    _, _, drained_s = served_apart(CompiledCrowd, replica, 20_000, 1e9)
    rate_per_s = LOAD * 20_000 / drained_s
    for form, count in ((CompiledCrowd, 500_000), (TwinCrowd, 20_000)):
        told = [served_apart(form, replica, count, rate_per_s) for _ in range(3)]
        cpu_s = statistics.median(spent_s for spent_s, *_ in told)
        crowd = told[0][1]
        iterations, plans = crowd.steps()
        print(
            f"\n{form.__name__}: {count / cpu_s:,.0f} requests per CPU s at {rate_per_s:.1f} a second; "
            f"{plans / count:.2f} plans and {iterations / count:.1f} iterations each; "
            f"{crowd.stability().verdict}"
        )


class Repeated:
    """A log again and again, each time with names of its own: nothing of an earlier time is found."""

    end_s = math.inf

    def __init__(self, log, times):
        self.log, self.left, self.time, self.done = log, times, 0, 0
        self.span_s = float(log.arrived_s[-1]) + 1.0
        self.names = int(log.prefixes.hashes.max()) + 1

    def next_block(self, count):
        if self.done == len(self.log):
            self.time, self.done = self.time + 1, 0
        if self.time == self.left:
            return self.log.rows(0, 0)
        block = self.log.rows(self.done, self.done + count)
        self.done += len(block)
        prefixes = replace(block.prefixes, hashes=block.prefixes.hashes + self.time * self.names)
        return replace(block, arrived_s=block.arrived_s + self.time * self.span_s, prefixes=prefixes)


#: Roles of replicas: all alike, and prefill apart from decode.
TOGETHER, SIX_AND_TWO = ("mixed",) * 8, ("prefill",) * 6 + ("decode",) * 2


@pytest.mark.parametrize("roles", [TOGETHER, SIX_AND_TWO], ids=["together", "apart"])
def test_prefixes_that_requests_share(shared_data, replica, roles):
    """Mooncake's conversations, ten hours of them, on eight replicas of 448,000 tokens of KV each."""
    _, add, _ = replica
    log = read_requests(shared_data / "serving" / "traces" / "mooncake_conversation.jsonl.gz", ("standard",))
    shared = ServiceRules("chat", rule=RULE, router=PrefixAware(), piece_tokens=log.prefixes.tokens, **SENT)
    plain = ServiceRules("chat", rule=RULE, router=LeastOutstanding(), **SENT)
    for form, rules, times in (
        (CompiledCrowd, shared, 1),
        (CompiledCrowd, shared, 10),
        (CompiledCrowd, plain, 10),
        (TwinCrowd, shared, 1),
    ):
        source = Repeated(log, times)
        crowd = form(rules, source)
        for number, role in enumerate(roles):
            crowd.apply(dataclasses.replace(add(number, 28_000), role=role), 0.0)
        begun_s = time.process_time()
        while (stop := crowd.advance(times * source.span_s + 600.0)) is not Stop.REACHED:
            if stop is Stop.ROWS_FULL:
                crowd.take_rows()
        cpu_s = time.process_time() - begun_s
        counters = crowd.counters()
        found = counters["prefix_tokens_hit"] / counters["prefix_tokens_looked"]
        print(
            f"\n{form.__name__}, {counters['requests_out']:,.0f} requests, {found:.1%} of tokens found: "
            f"{counters['requests_out'] / cpu_s:,.0f} requests per CPU s"
        )


def test_time_per_request_is_flat(replica):
    served(CompiledCrowd, replica, 1000)
    for count in (10_000, 100_000, 1_000_000, 10_000_000):
        cpu_s, _ = served(CompiledCrowd, replica, count)
        held_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
        print(f"\n{count:,} requests: {cpu_s / count * 1e6:.2f} us each, {held_mb:.0f} MB held at most")


def test_a_week_of_50_requests_a_second_on_32_replicas(replica):
    count = 50 * 7 * 86_400
    cpu_s, crowd = served(CompiledCrowd, replica, count, replicas=32)
    print(f"\n{count:,} requests on 32 replicas: {cpu_s:.0f} CPU s; {crowd.stability().verdict}")


@pytest.mark.parametrize(
    ("form", "counts"), [(CompiledCrowd, (500_000, 2_000_000)), (TwinCrowd, (30_000, 120_000))]
)
def test_a_service_that_falls_ever_further_behind(replica, form, counts):
    """A million requests a day for two replicas with a tenth of their blocks, looked at every minute."""
    log, add, _ = replica
    rate_per_s = 1e6 / 86_400.0
    for count in counts:
        crowd = form(ServiceRules("chat", rule=RULE), Resampled(log, count, rate_per_s))
        for number in range(2):
            crowd.apply(add(number, 2_000), 0.0)
        crowd.apply(SetWatch(Watch(60.0, queue_above=2.0)), 0.0)
        begun_s = time.process_time()
        while (stop := crowd.advance(count / rate_per_s)) is not Stop.REACHED:
            if stop is Stop.ROWS_FULL:
                crowd.take_rows()
            else:
                crowd.fired()
                seen = crowd.observe()
        cpu_s = time.process_time() - begun_s
        print(
            f"\n{form.__name__}, {count:,} requests: {cpu_s / count * 1e6:.2f} us each, "
            f"{seen.in_flight:,.0f} in flight at the end"
        )


@pytest.mark.parametrize(("form", "asked"), [("lean", ""), ("featured", ", attention_data_parallel=2")])
def test_compiling_once(tmp_path, form, asked):
    """The first run on a machine compiles; later ones load what it left."""
    program = (
        "from simulator.serving.compiled_crowd import CompiledCrowd as C\n"
        "from simulator.serving.service_rules import ServiceRules\n"
        f"C(ServiceRules('x'{asked})).advance(1.0)"
    )
    for word in ("compiled", "loaded"):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run((sys.executable, "-c", program), check=True, env={"NUMBA_CACHE_DIR": str(tmp_path)})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"\n{form} kernel {word}: {cpu_s:.1f} CPU s")


def test_end_to_end_with_requests_written(tmp_path):
    """Two and ten million requests of the quickstart's service, everything written but the report."""
    from simulator.results.execution import execute

    for days in (10, 50):
        scenario = load(
            "quickstart",
            [
                "failures=none",
                "workloads.research.load=1 GPUs on average",
                "workloads.chat.demand.requests=200_000 per day",
                f"duration={days} d",
            ],
        )
        count = 200_000 * days
        begun_s = time.process_time()
        execute(scenario, out=tmp_path / str(days))
        cpu_s = time.process_time() - begun_s
        held_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
        print(f"\n{count:,}: {count / cpu_s:,.0f} requests per CPU s, {held_mb:.0f} MB")
