"""Reading scenarios: keys and attributes, parents, overrides, places, many mistakes at once."""

from __future__ import annotations

import json

import pytest

from simulator.foundation.errors import ScenarioError
from simulator.scenario import load, load_text


def problems(text, overrides=(), **keywords):
    with pytest.raises(ScenarioError) as caught:
        load_text(text, overrides, name="s.yaml", **keywords)
    return caught.value.problems


def test_keys_lose_their_unit_and_values_gain_one(small):
    scenario = load_text(small)
    site, (run, chat, research) = scenario.sites[0], scenario.workloads
    assert scenario.duration_s == 2 * 86400.0
    assert site.interconnection.limit_w == 200e3
    assert site.fabric.values["link_bytes_per_s"] == 50e9
    assert site.fabric.values["oversubscription"] == 2.0
    assert site.storage.write_bandwidth_bytes_per_s == 20e9
    assert site.cooling.values["supply_temperature_c"] == 30.0
    assert run.tokens == 50e9
    assert run.checkpoint.every_s == 1800.0
    assert run.submit_s == 6 * 3600.0
    assert chat.demand.requests_per_s == pytest.approx(2000 / 86400)
    assert [tier.share_fraction for tier in chat.tiers] == [0.1, 0.9]
    assert research.load_gpus == 8.0
    assert scenario.script[1].at_s == 20 * 3600.0
    assert scenario.script[1].clock_fraction == 0.8
    assert scenario.limits[0].metric == "p95_wait_s"
    assert scenario.limits[0].bound == 4 * 3600.0


def test_norway_and_other_words_that_old_yaml_bends_stay_text(small):
    text = small.replace("grid: DE", "grid: NO").replace("vision: 40 %, speech: 60 %", "no: 40 %, on: 60 %")
    scenario = load_text(text.replace("tenant: vision", "tenant: on"))
    assert scenario.sites[0].grid.name == "NO"
    assert dict(scenario.workloads[2].tenants) == {"no": 0.4, "on": 0.6}


@pytest.mark.parametrize(
    ("written", "tokens"),
    [("2.5 T", 2.5e12), ("150_000", 150_000.0), ("30e3", 30e3), ("7 million", 7e6), ("1e+6", 1e6)],
)
def test_counts_may_be_written_as_people_write_them(small, written, tokens):
    scenario = load_text(small, [f"workloads.pretrain.tokens={written}"])
    assert scenario.workloads[0].tokens == tokens


def test_a_plugin_is_built_from_its_own_fields(small):
    from simulator.scheduling import POLICIES

    scenario = load_text(small, ["scheduling.policy={policy: sjf, skip: true}"])
    assert scenario.scheduling.policy.build() == POLICIES["sjf"](skip=True)
    assert load_text(small).scheduling.policy.build() == POLICIES["easy"]()


def test_five_mistakes_are_told_in_one_reading(small):
    text = (
        small.replace("duration: 2 d", "duration: 2 days")
        .replace("node: hgx-h100-8", "nod: hgx-h100-8")
        .replace("limit: 200 kW", "limit: 200 kw")
        .replace("400 Gb/s", "400 gbps")
        .replace("policy: easy", "policy: eazy")
    )
    found = problems(text)
    assert [(problem.line, problem.key) for problem in found] == [
        (3, "duration"),
        (9, "sites.campus.interconnection.limit"),
        (12, "sites.campus.fabric.link"),
        (14, "sites.campus.pools.h100.node"),
        (14, "sites.campus.pools.h100.nod"),
        (16, "scheduling.policy"),
    ]
    text = str(ScenarioError(found))
    assert text.startswith("6 problems\ns.yaml:3:11: duration: '2 days': unknown unit 'days'")


def test_wrong_names_and_sums_are_told_beside_keys_that_cannot_be_read(small):
    text = small.replace("limit: 200 kW", "limit: 200").replace("grid: DE", "grid: DEE")
    text = text.replace("share: 10 %", "share: 20 %").replace("tokens: 50 B", "tokns: 50 B")
    keys = [problem.key for problem in problems(text)]
    assert keys == [
        "sites.campus.grid",
        "sites.campus.interconnection.limit",
        "workloads.pretrain.tokns",
        "workloads.chat.tiers",
    ]


def test_what_was_left_out_causes_no_second_complaint(small):
    """Without the duration, the service would 'never end': that must not be said."""
    assert [problem.key for problem in problems(small.replace("duration: 2 d", "duration: soon"))] == [
        "duration"
    ]


class TestOverrides:
    def test_by_name_and_by_index_mean_the_same(self, small):
        by_name = load_text(small, ["sites.campus.pools.h100.nodes=16"])
        by_index = load_text(small, ["sites.0.pools.0.nodes=16"])
        assert by_name.sites[0].pools[0].nodes == by_index.sites[0].pools[0].nodes == 16
        assert by_name.hash == by_index.hash

    def test_the_last_one_wins(self, small):
        assert load_text(small, ["seed=2", "seed=3"]).seed == 3

    def test_a_text_may_stand_for_a_mapping_and_get_more_keys(self, small):
        scenario = load_text(small, ["sites.campus.grid=FR", "sites.campus.grid.price=80 USD/MWh"])
        assert scenario.sites[0].grid.name == "FR"
        assert scenario.sites[0].grid.price_usd_per_kwh == pytest.approx(0.08)

    def test_a_plugin_named_by_a_text_may_get_options(self, small):
        scenario = load_text(small, ["scheduling.policy=sjf", "scheduling.policy.skip=true"])
        assert scenario.scheduling.policy.values == {"skip": True}

    def test_a_mapping_that_was_not_there_is_made(self, small):
        scenario = load_text(small, ["books.cost.gpu_life=4 yr"])
        assert scenario.books.cost.gpu_life_s == 4 * 365 * 86400.0

    def test_nothing_after_the_equals_sign_takes_a_key_away(self, small):
        assert load_text(small, ["workloads.pretrain.checkpoint="]).workloads[0].checkpoint is None

    def test_lists_and_mappings_may_be_given_whole(self, small):
        scenario = load_text(small, ["limits=[{pue: 1.4}, {makespan: 1 d}]"])
        assert [limit.metric for limit in scenario.limits] == ["pue", "makespan_s"]

    def test_catalog_names_may_hold_dots(self, small):
        scenario = load_text(small, ["catalog.models.llama-3.1-8b.layers=33"])
        assert scenario.catalog.model("llama-3.1-8b").layers == 33

    @pytest.mark.parametrize(
        ("override", "message", "hint"),
        [
            ("sites.campus.pols.h100.nodes=3", "unknown key 'pols'", "did you mean 'pools'?"),
            ("sites.campsu.grid=FR", "unknown name 'campsu'", "did you mean 'campus'?"),
            ("sites.3.grid=FR", "index 3 is past the end", "known: campus"),
            ("site.campus.grid=FR", "unknown key 'site'", "did you mean 'sites'?"),
            ("seed", "'seed' is not KEY=VALUE", "such as seed=2"),
            ("=3", "'=3' is not KEY=VALUE", "such as seed=2"),
            ("seed=many", "'many' is not a number", ""),
            ("title=[a", "not YAML", ""),
        ],
    )
    def test_mistakes_name_the_command_line(self, small, override, message, hint):
        (problem,) = problems(small, [override])
        assert message in problem.message
        assert hint in problem.hint
        assert problem.file == "command line"
        assert problem.line == 0

    def test_a_relative_path_on_the_command_line_begins_where_people_stand(
        self, small, tmp_path, monkeypatch
    ):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "w.epw").write_text("")
        monkeypatch.chdir(tmp_path)
        changed = ["sites.0.climate=", "sites.0.weather.file=w.epw"]
        scenario = load_text(small, changed, folder=tmp_path / "elsewhere")
        assert scenario.sites[0].weather.file == str(tmp_path / "w.epw")


class TestExtends:
    def write(self, folder, name, text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def test_keys_are_merged_and_named_items_too(self, small, tmp_path):
        self.write(tmp_path, "base.yaml", small)
        child = """\
extends: ../base.yaml
title: Child
sites:
  - name: campus
    grid: FR
    pools:
      - {name: h100, nodes: 16}
      - {name: h200, node: hgx-h200-8, nodes: 2}
workloads:
  - {name: pretrain, gpus: 64}
"""
        scenario = load(self.write(tmp_path, "sub/child.yaml", child))
        assert scenario.title == "Child"
        assert scenario.sites[0].grid.name == "FR"
        assert [(pool.name, pool.node, pool.nodes) for pool in scenario.sites[0].pools] == [
            ("h100", "hgx-h100-8", 16),
            ("h200", "hgx-h200-8", 2),
        ]
        assert [work.name for work in scenario.workloads] == ["pretrain", "chat", "research"]
        assert scenario.workloads[0].gpus == 64
        assert scenario.workloads[0].tokens == 50e9

    def test_another_kind_replaces_the_mapping_whole(self, small, tmp_path):
        self.write(tmp_path, "base.yaml", small.replace("    power_chain: ups-eco\n", ""))
        child = "extends: base.yaml\nsites: [{name: campus, cooling: {plant: constant-pue, pue: 1.2}}]\n"
        scenario = load(self.write(tmp_path, "child.yaml", child))
        assert scenario.sites[0].cooling.values["pue"] == 1.2

    def test_an_empty_value_takes_a_key_of_the_parent_away(self, small, tmp_path):
        self.write(tmp_path, "base.yaml", small)
        child = "extends: base.yaml\nlimits:\n"
        assert load(self.write(tmp_path, "child.yaml", child)).limits == ()

    def test_a_mistake_is_told_with_the_file_it_stands_in(self, small, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        self.write(tmp_path, "base.yaml", small.replace("gpus: 32", "gpsu: 32"))
        self.write(tmp_path, "child.yaml", "extends: base.yaml\ntitle: Child\nseed: x\n")
        with pytest.raises(ScenarioError) as caught:
            load("child.yaml", ["duration=3"])
        assert [(p.file, p.line, p.key) for p in caught.value.problems] == [
            ("base.yaml", 18, "workloads.pretrain.gpus"),
            ("base.yaml", 22, "workloads.pretrain.gpsu"),
            ("child.yaml", 3, "seed"),
            ("command line", 0, "duration"),
        ]

    def test_relative_paths_begin_at_the_file_that_names_them(self, small, tmp_path):
        text = small.replace("climate: frankfurt-typical", "weather: {file: w.epw}")
        self.write(tmp_path, "base/base.yaml", text)
        self.write(tmp_path, "base/w.epw", "")
        child = self.write(tmp_path, "child/child.yaml", "extends: ../base/base.yaml\n")
        assert load(child).sites[0].weather.file == str(tmp_path / "base" / "w.epw")

    def test_a_shipped_scenario_may_be_the_parent(self, tmp_path):
        child = self.write(
            tmp_path, "mine.yaml", "extends: quickstart\nsites: [{name: frankfurt, grid: FR}]\n"
        )
        assert load(child).sites[0].grid.name == "FR"
        assert load(child).workloads[0].name == "pretrain-8b"

    def test_a_circle_is_refused(self, tmp_path):
        self.write(tmp_path, "a.yaml", "extends: b.yaml\n")
        b = self.write(tmp_path, "b.yaml", "extends: a.yaml\n")
        with pytest.raises(ScenarioError, match="extends itself"):
            load(b)


class TestQueues:
    def test_one_site_has_one_queue_over_all_its_pools(self, small):
        (queue,) = load_text(small).queues
        assert (queue.name, queue.pools, queue.policy.name) == ("default", ("campus.h100",), "easy")

    def test_a_queue_takes_what_it_does_not_say_from_above(self, small):
        queues = "scheduling.queues=[{name: a, pools: [h100], policy: fcfs}]"
        work = [f"workloads.{name}.queue=a" for name in ("pretrain", "chat", "research")]
        (queue,) = load_text(small, [queues, *work]).queues
        assert (queue.policy.name, queue.placement.name) == ("fcfs", "consolidate")

    def test_several_sites_have_a_queue_each_and_work_must_say_which(self, small):
        text = small.replace("scheduling:", _SECOND_SITE + "scheduling:", 1)
        text = text.replace("node: h100.3", "node: campus.h100.3")
        unsaid = [f"workloads.{name}" for name in ("pretrain", "chat", "research")]
        assert [problem.key for problem in problems(text)] == unsaid
        told = [f"workloads.{name}.queue=campus" for name in ("pretrain", "chat", "research")]
        assert [queue.name for queue in load_text(text, told).queues] == ["campus", "other"]


_SECOND_SITE = """\
  - name: other
    grid: FR
    cooling: {plant: constant-pue, pue: 1.2}
    pools: [{name: h100, node: hgx-h100-8, nodes: 2}]
"""


def test_a_run_that_ends_with_its_work_needs_no_duration():
    text = """\
title: Three jobs
sites:
  - name: s
    grid: {intensity: 0 g/kWh}
    cooling: {plant: none}
    pools: [{name: p, node: generic-1gpu, nodes: 4}]
workloads:
  - kind: list
    jobs: [{id: a, gpus: 1, run: 1 h}, {id: b, gpus: 4, run: 2 h, submit: 10 s}]
"""
    scenario = load_text(text)
    assert scenario.duration_s is None
    # Moments are read although nobody gave a start.
    assert [job.submit_s for job in scenario.workloads[0].jobs] == [0.0, 10.0]


def test_a_resolved_form_is_plain_json(small):
    form = load_text(small).resolved()
    assert json.loads(json.dumps(form, allow_nan=False)) == form
