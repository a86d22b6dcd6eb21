"""Malformed scenarios by hand: each gets its one clear message, status 2, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from simulator.cli.commands import datahall

# (what is replaced, by what, a part of the message exactly as it is printed)
REPLACED = {
    "unknown key": (
        "    gpus: 32\n",
        "    gpuss: 32\n    gpus: 32\n",
        "bad.yaml:22:5: workloads.pretrain.gpuss: unknown key 'gpuss'\n    did you mean 'gpus'?",
    ),
    "unknown key in a flow mapping": (
        "{limit: 200 kW}",
        "{limitt: 200 kW}",
        "bad.yaml:9:23: sites.campus.interconnection.limitt: unknown key 'limitt'\n    did you mean 'limit'?",
    ),
    "unknown key at the top": (
        "script:\n",
        "scripts:\n",
        "unknown key 'scripts'\n    did you mean 'script'?",
    ),
    "missing key": (
        "    model: llama-3.1-8b\n",
        "",
        "bad.yaml:18:5: workloads.pretrain.model: missing: this key is required\n"
        "    Catalog name of the model.",
    ),
    "key without value": (
        "    grid: DE\n",
        "    grid:\n",
        "bad.yaml:7:5: sites.campus.grid: nothing follows this key",
    ),
    "duplicate key": (
        "title: Small\n",
        "title: Small\ntitle: Big\n",
        "bad.yaml:2:1: duplicate key 'title'; it stands in line 1 already",
    ),
    "duration without unit": (
        "duration: 2 d",
        "duration: 2",
        "bad.yaml:3:11: duration: '2' has no unit; write e.g. '2 h'",
    ),
    "unknown unit": (
        "duration: 2 d",
        "duration: 2 days",
        "duration: '2 days': unknown unit 'days'; did you mean d?",
    ),
    "unit of something else": (
        "limit: 200 kW",
        "limit: 200 kWh",
        "'200 kWh': 'kWh' measures energy, not power",
    ),
    "bits or bytes": ("400 Gb/s", "400 gbps", "'400 gbps': unknown unit 'gbps'; did you mean GB/s or Gb/s?"),
    "power without unit": ("limit: 200 kW", "limit: 200000", "'200000' has no unit"),
    "negative duration": ("duration: 2 d", "duration: -2 d", "duration: '-2 d': must be above 0 s"),
    "not a number": ("duration: 2 d", "duration: .nan", "duration: '.nan' is not a number with a unit"),
    "nan with a unit": ("limit: 200 kW", "limit: nan kW", "'nan kW' is not a number with a unit"),
    "infinite": ("limit: 200 kW", "limit: inf W", "'inf W' is not a number with a unit"),
    "absurdly large": ("duration: 2 d", "duration: 1e999 d", "duration: '1e999 d': too large to be meant"),
    "half a GPU": ("gpus: 32", "gpus: 32.5", "workloads.pretrain.gpus: '32.5': must be a whole number"),
    "no GPU": ("gpus: 32", "gpus: 0", "workloads.pretrain.gpus: '0': must be at least 1"),
    "words for a number": ("gpus: 32", "gpus: many", "workloads.pretrain.gpus: 'many' is not a number"),
    "list for text": ("title: Small", "title: [Small]", "bad.yaml:1:8: title: expected text, got a list"),
    "mapping for a list": ("workloads:\n  - kind: training", "workloads:\n  kind: training", "bad.yaml:"),
    "text for a mapping": (
        "scheduling: {policy: easy, placement: consolidate}",
        "scheduling: easy",
        "scheduling: expected a mapping, got 'easy'",
    ),
    "unknown policy": (
        "policy: easy",
        "policy: esay",
        "bad.yaml:16:22: scheduling.policy: unknown policy 'esay'\n"
        "    did you mean 'easy'? known: fcfs, sjf, easy, conservative",
    ),
    "unknown placement": (
        "placement: consolidate",
        "placement: consolidated",
        "unknown policy 'consolidated'\n    did you mean 'consolidate'?",
    ),
    "option of another policy": (
        "policy: easy,",
        "policy: {policy: easy, skip: true},",
        "scheduling.policy.skip: unknown key 'skip'",
    ),
    "unknown plant": (
        "plant: dry-cooler-adiabatic",
        "plant: dry-coler-adiabatic",
        "sites.campus.cooling.plant: unknown plant 'dry-coler-adiabatic'\n"
        "    did you mean 'dry-cooler-adiabatic'?",
    ),
    "pue of a modelled plant": (
        "supply_temperature: 30 C",
        "pue: 1.1",
        "sites.campus.cooling.pue: unknown key 'pue'",
    ),
    "impossible pue": (
        "{plant: dry-cooler-adiabatic, supply_temperature: 30 C}",
        "{plant: constant-pue, pue: 0.9}",
        "pue is 0.9; facility energy includes IT energy, so it is at least 1",
    ),
    "conversion counted twice": (
        "{plant: dry-cooler-adiabatic, supply_temperature: 30 C}",
        "{plant: constant-pue, pue: 1.2}",
        "sites.campus.power_chain: has no effect: the PUE of 'constant-pue' holds conversion losses already",
    ),
    "unknown kind": (
        "kind: jobs",
        "kind: job",
        "workloads.research: unknown kind 'job'\n    did you mean 'jobs'?",
    ),
    "missing kind": (
        "  - kind: jobs\n    name: research",
        "  - name: research",
        "workloads.research: 'kind' is missing: it says what this is",
    ),
    "unknown node": (
        "node: hgx-h100-8",
        "node: hgx-h100",
        "sites.campus.pools.h100.node: unknown node 'hgx-h100'\n    did you mean 'hgx-h100-8'?",
    ),
    "unknown grid": (
        "grid: DE",
        "grid: DEE",
        "bad.yaml:7:11: sites.campus.grid: unknown grid 'DEE'\n    did you mean 'DE'?",
    ),
    "unknown model": (
        "model: llama-3.1-8b",
        "model: llama-3-8b",
        "unknown model 'llama-3-8b'\n    did you mean 'llama-3.1-8b'?",
    ),
    "unknown climate": (
        "climate: frankfurt-typical",
        "climate: frankfort",
        "unknown climate 'frankfort'\n    did you mean 'frankfurt-typical'?",
    ),
    "no weather": (
        "    climate: frankfurt-typical\n",
        "",
        "cooling by 'dry-cooler-adiabatic' needs a climate or weather",
    ),
    "unreadable weather": (
        "climate: frankfurt-typical",
        "weather: {file: gone.epw}",
        "sites.campus.weather.file: no such file:",
    ),
    "two grids": (
        "grid: DE",
        "grid: {name: DE, intensity: 350 g/kWh}",
        "sites.campus.grid: name and intensity given, exactly one is needed",
    ),
    "column without a trace": (
        "grid: DE",
        "grid: {name: DE, price_column: price}",
        "sites.campus.grid.price_column: has no effect without a trace",
    ),
    "start without zone": ("00:00 Europe/Berlin", "00:00", "start: '2024-03-04 00:00' names no time zone"),
    "unknown zone": (
        "Europe/Berlin",
        "Europe/Berln",
        "unknown time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?",
    ),
    "a start before all calendars": (
        "start: 2024-03-04",
        "start: 0900-01-01",
        "start: '0900-01-01 00:00 Europe/Berlin': a run starts between 1900 and 2200",
    ),
    "a run of many lifetimes": (
        "duration: 2 d",
        "duration: 1e30 d",
        "bad.yaml:3:11: duration: '1e30 d': longer than 100 yr, further than a run can reach",
    ),
    "submitted many lifetimes later": (
        "submit: 2024-03-04 06:00",
        "submit: 1e20 d",
        "workloads.pretrain.submit: '1e20 d': longer than 100 yr",
    ),
    "more nodes than there are": (
        "nodes: 8}",
        "nodes: 1_000_000_000_000}",
        "nodes: '1_000_000_000_000': must be at most 1e+07",
    ),
    "no such day": (
        "start: 2024-03-04",
        "start: 2024-02-30",
        "start: '2024-02-30 00:00 Europe/Berlin' is not a moment",
    ),
    "an hour that clocks skip": (
        "submit: 2024-03-04 06:00",
        "submit: 2024-03-31 02:30",
        "'2024-03-31 02:30' is skipped when the clocks of Europe/Berlin change",
    ),
    "submitted before the start": (
        "submit: 2024-03-04 06:00",
        "submit: 2024-03-03 06:00",
        "workloads.pretrain.submit: 18 h before the start",
    ),
    "submitted after the end": (
        "submit: 2024-03-04 06:00",
        "submit: 2024-03-30 06:00",
        "workloads.pretrain.submit: 26.2 d after the start, but the run lasts 2 d",
    ),
    "script after the end": (
        "at: 20 h",
        "at: 200 h",
        "script.1.at: 8.33 d after the start, but the run lasts 2 d",
    ),
    "endless": (
        "duration: 2 d",
        "duration: until done",
        "workloads.chat: 'chat' never ends, so the run needs a duration",
    ),
    "more GPUs than there are": (
        "gpus: 32",
        "gpus: 65",
        "workloads.pretrain.gpus: 65 GPUs asked for; the largest pool of queue 'default' holds 64",
    ),
    "more tensor ranks than GPUs in a domain": (
        "gpus: 32\n",
        "gpus: 32\n    parallelism: {tp: 16}\n",
        "16 tensor-parallel ranks, but the scale-up domain of hgx-h100-8 has 8 GPUs",
    ),
    "a budget that a full batch exceeds": (
        "preset: vllm-v1,",
        "preset: vllm-v1, token_budget: 512,",
        "token_budget 512 is less than max_sequences 1024: a full batch could not decode",
    ),
    "a choice that the engine does not have": (
        "preset: vllm-v1,",
        "preset: sarathi, padded_budget: true,",
        "padded_budget has no effect where prompts are cut to the budget",
    ),
    "degrees that do not divide": (
        "gpus: 32\n",
        "gpus: 32\n    parallelism: {tp: 2, pp: 5}\n",
        "the degrees make 10 x 3 = 30 ranks, gpus is 32",
    ),
    "more stages than layers": (
        "gpus: 32\n",
        "gpus: 36\n    parallelism: {pp: 36}\n",
        "36 stages x 1 chunks for 32 layers",
    ),
    "a training that does not fit": (
        "model: llama-3.1-8b",
        "model: llama-3.1-405b",
        "llama-3.1-405b does not fit: its training state of 5.68 TB is more than the 2.74 TB of 32 GPUs",
    ),
    "a layout that does not fit": (
        "gpus: 32\n",
        "gpus: 32\n    context: 8_192\n    parallelism: {dp: 32, zero_stage: 0}\n",
        "workloads.pretrain.parallelism: llama-3.1-8b with dp32 mb1 needs",
    ),
    "a service that does not fit": (
        "tensor_parallel: 4",
        "tensor_parallel: 1",
        "workloads.chat.tensor_parallel: llama-3.3-70b in fp8 over 1 GPUs of 80 GiB",
    ),
    "experts of a dense model": (
        "tensor_parallel: 4",
        "tensor_parallel: 4\n    expert_parallel: 2",
        "is dense: expert_parallel has nothing to deal",
    ),
    "attention groups of a dense model": (
        "tensor_parallel: 4",
        "tensor_parallel: 4\n    attention_data_parallel: 2",
        "workloads.chat.attention_data_parallel: llama-3.3-70b is dense: its groups would share nothing",
    ),
    "attention groups beyond a scale-up domain": (
        "tensor_parallel: 4",
        "tensor_parallel: 4\n    attention_data_parallel: 4",
        "4 groups of 4 GPUs exchange tokens in every layer, but the largest scale-up domain has 8 GPUs",
    ),
    "attention groups of static batches": (
        "model: llama-3.3-70b\n    engine: {preset: vllm-v1, precision: fp8}\n    tensor_parallel: 4",
        "model: qwen3-30b-a3b\n    engine: {policy: static}\n    attention_data_parallel: 4",
        "static batches end each on its own, so groups that advance together have no effect on them",
    ),
    "attention groups on a measured table": (
        "engine: {preset: vllm-v1, precision: fp8}",
        "engine: {preset: vllm-v1, iteration_table: bad.yaml}\n    attention_data_parallel: 2",
        "iteration_table does not say what attention groups share",
    ),
    "a cut without a size": (
        "tensor_parallel: 4",
        "tensor_parallel: 4\n    transform: prune-depth",
        "prune-depth needs `keep`",
    ),
    "more replicas than fit": ("max: 4", "max: 40", "40 replicas of 4 GPUs; the pools have room for 16"),
    "fewer at most than at least": (
        "{min: 2, max: 4,",
        "{min: 5, max: 4,",
        "workloads.chat.replicas: max 4 is below min 5",
    ),
    "range that nothing scales": (", autoscale: queue", "", "min 2 and max 4 differ, but nothing scales"),
    "two amounts": (
        "requests: 2_000 per day",
        "requests: 2_000 per day, tokens: 1 M per day",
        "workloads.chat.demand: 2 amounts given (requests, tokens), exactly one is needed",
    ),
    "rate without a period": (
        "requests: 2_000 per day",
        "requests: 2_000",
        "workloads.chat.demand.requests: '2_000' has no unit",
    ),
    "shares that are no whole": (
        "share: 10 %",
        "share: 20 %",
        "workloads.chat.tiers: the shares sum to 110 %, not to 100 %",
    ),
    "tenants that are no whole": (
        "vision: 40 %",
        "vision: 50 %",
        "workloads.research.tenants: the shares sum to 110 %, not to 100 %",
    ),
    "percent forgotten": (
        "share: 10 %",
        "share: 10",
        "'10' is not a fraction between 0 and 1; did you mean '10 %'?",
    ),
    "no lengths": ("    lengths: reasoning-2025\n", "", "workloads.chat: a demand needs lengths"),
    "tokens and steps": (
        "tokens: 50 B",
        "tokens: 50 B\n    steps: 100",
        "workloads.pretrain: give one of tokens, steps, loss and compute_optimal, and no two",
    ),
    "mix too large": (
        "    largest: 16\n",
        "",
        "'helios-like' has jobs of 2048 GPUs; the largest pool of queue 'default' holds 64",
    ),
    "two of one name": (
        "name: chat",
        "name: pretrain",
        "bad.yaml:26:11: workloads.pretrain.name: 'pretrain' is the name of two workloads",
    ),
    "a name with a dot": ("name: campus", "name: cam.pus", "'cam.pus': a name is letters, digits"),
    "unknown queue": (
        "gpus: 32\n",
        "gpus: 32\n    queue: fast\n",
        "workloads.pretrain.queue: unknown queue 'fast'\n    known: default",
    ),
    "unknown pool in a queue": (
        "placement: consolidate}",
        "placement: consolidate, queues: [{name: q, pools: [a100]}]}",
        "scheduling.queues.q.pools.0: unknown pool 'a100'",
    ),
    "unknown fault target": (
        "node: h100.3",
        "node: h100.8",
        "script.0.node: 'h100.8': the pool has nodes 0 to 7",
    ),
    "no node": ("node: h100.3", "node: h100", "script.0.node: 'h100' is no node\n    write POOL.N"),
    "unknown power target": (
        "target: campus.h100",
        "target: campus.a100",
        "script.1.target: unknown target 'campus.a100'\n    did you mean 'campus.h100'?",
    ),
    "clock and watts": (
        "clock: 80 %",
        "clock: 80 %, watts: 300 W",
        "script.1: give either clock or watts, and not both",
    ),
    "unknown tenant": (
        "tenant: vision}",
        "tenant: visoin}",
        "limits.0.tenant: unknown tenant 'visoin'\n    did you mean 'vision'?",
    ),
    "no bound": ("p95_wait: 4 h, ", "", "limits.0: 0 bounds in one limit, exactly one is needed"),
    "all spares": ("nodes: 8}", "nodes: 8, hot_spares: 8}", "8 spares of 8 nodes leave nothing to work on"),
    "ratio as a number": ('"1:2"', "2", "oversubscription: '2': not a ratio"),
    "yes for true": (
        "scheduling:",
        "failures: {power_off_down_nodes: yes}\nscheduling:",
        "expected true or false, got 'yes'",
    ),
    "scale without failures": (
        "scheduling:",
        "failures: {rate_scale: 2}\nscheduling:",
        "failures.rate_scale: has no effect: there are no failures",
    ),
    "unknown catalog field": (
        "scheduling:",
        "catalog: {nodes: {hgx-h100-8: {host_idel: 1 kW}}}\nscheduling:",
        "host_idel",
    ),
    "catalog value without unit": (
        "scheduling:",
        "catalog: {nodes: {hgx-h100-8: {host_idle: 1000}}}\nscheduling:",
        "'1000' has no unit",
    ),
    "parent that is not there": (
        "title: Small\n",
        "title: Small\nextends: gone.yaml\n",
        "bad.yaml:2:10: extends: no such file or shipped scenario 'gone.yaml'",
    ),
    "its own parent": (
        "title: Small\n",
        "title: Small\nextends: bad.yaml\n",
        "extends: 'bad.yaml' extends itself",
    ),
    "anchors": ("grid: DE", "grid: &de DE", "the anchor '&de' is not understood"),
    "tags": ("nodes: 8}", "nodes: !!int 8}", "the tag"),
}

WHOLE = {
    "empty": ("", "bad.yaml: the file is empty"),
    "only comments": ("# nothing yet\n", "bad.yaml: the file is empty"),
    "a list": ("- a\n- b\n", "bad.yaml:1:1: expected a map of keys, got a list"),
    "a word": ("hello\n", "bad.yaml:1:1: expected a map of keys, got 'hello'"),
    "broken YAML": ("title: [a, b\nsites: []\n", "bad.yaml:2:"),
    "tabs": ("title: a\n\tsites: []\n", "bad.yaml:2:1: not YAML"),
    "two documents": ("title: a\n---\ntitle: b\n", "a second document begins here"),
    "no sites": (
        "title: a\nduration: 1 d\nsites: []\nworkloads: []\n",
        "sites: no site: a scenario has at least one",
    ),
}


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a text as `bad.yaml` and return what was printed, having checked everything else."""
    monkeypatch.chdir(tmp_path)

    def run(text: str | bytes) -> str:
        path = tmp_path / "bad.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        result = CliRunner().invoke(datahall, ["run", "bad.yaml"])
        assert result.exit_code == 2, result.output
        assert isinstance(result.exception, SystemExit)
        assert "Traceback" not in result.output
        assert result.stdout == ""
        assert [item.name for item in tmp_path.iterdir()] == ["bad.yaml"]
        return result.stderr

    return run


@pytest.mark.parametrize("name", REPLACED)
def test_one_mistake_gets_its_message(name, small, told):
    old, new, message = REPLACED[name]
    assert small.count(old) >= 1, "the test's own text is wrong"
    assert message in told(small.replace(old, new, 1))


@pytest.mark.parametrize("name", WHOLE)
def test_files_that_are_no_scenario_get_their_message(name, told):
    text, message = WHOLE[name]
    assert message in told(text)


def test_bytes_that_are_no_text_are_refused_with_their_place(told):
    assert "bad.yaml:2:8: not UTF-8 text: byte 0xff" in told(b"title: a\nsites: \xff\n")


def test_a_job_log_that_is_not_there_is_refused_before_anything_is_written(told, small):
    text = small + "  \n"
    head, _, _ = text.partition("workloads:")
    log = "workloads:\n  - {kind: swf, path: gone.swf}\n"
    assert "workloads.0.path: no such file:" in told(head + log)


def test_the_small_scenario_itself_is_right(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(small)
    result = CliRunner().invoke(datahall, ["check", "good.yaml"])
    assert result.exit_code == 0, result.output
