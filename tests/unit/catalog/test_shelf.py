"""Layers of the catalog: shipped files, folders, a scenario's block; and the words of its errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from simulator.catalog.entries import KINDS
from simulator.catalog.shelf import Catalog
from simulator.foundation.documents import read_document
from simulator.foundation.errors import CatalogError, ScenarioError

CATALOG = Catalog.shipped()
WEEK = " ".join(["1"] * 168)


def block(text: str) -> Catalog:
    return CATALOG.with_block(read_document(text, "x.yaml"))


def mistakes(text: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        block(text)
    return str(caught.value)


def test_kinds_and_names_are_listed() -> None:
    assert CATALOG.kinds() == tuple(KINDS)
    assert {"h100-sxm", "b200", "gb200"} <= set(CATALOG.names("gpus"))
    assert all(CATALOG.names(kind) for kind in CATALOG.kinds())


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        CatalogError, match=r"no 'h100-smx' among the catalog's gpus\n    did you mean 'h100-sxm'\?"
    ):
        CATALOG.get("gpus", "h100-smx")
    with pytest.raises(
        CatalogError, match=r"unknown kind of catalog entries 'gpu'\n    did you mean 'gpus'\?"
    ):
        CATALOG.names("gpu")


def test_a_model_answers_to_its_other_names() -> None:
    assert CATALOG.model("LLAMA3-8B").name == "llama-3.1-8b"
    assert CATALOG.model("DeepSeekV3 (w/o MTP)").mtp_layers == 0


def test_no_other_name_is_used_twice() -> None:
    names = [n for m in CATALOG.names("models") for n in (m, *CATALOG.model(m).aliases)]
    assert len(names) == len(set(names))


def test_a_blank_is_refused_by_name_and_says_where_to_set_it() -> None:
    with pytest.raises(CatalogError) as caught:
        CATALOG.need(CATALOG.gpu("gb200"), "embodied_gco2e")
    assert "catalog.gpus.gb200.embodied is blank" in str(caught.value)
    assert "catalog: {gpus: {gb200: {embodied: ...}}}" in str(caught.value)


def test_a_field_that_is_there_is_given() -> None:
    assert CATALOG.need(CATALOG.gpu("h100-sxm"), "idle_w") == 72.0


def test_a_block_adds_an_entry_like_another() -> None:
    own = block("gpus: {h100-big: {like: h100-sxm, memory: 120 GB}}")
    assert own.gpu("h100-big").memory_bytes == 120e9
    assert own.gpu("h100-big").tdp_w == 700.0
    assert "h100-big" not in CATALOG.names("gpus")


def test_a_block_changes_only_the_fields_it_writes() -> None:
    own = block("gpus: {gb200: {embodied: 290 kg}}")
    assert own.gpu("gb200").embodied_gco2e == 290e3
    assert own.gpu("gb200").tdp_w == CATALOG.gpu("gb200").tdp_w
    assert own.provenance("gpus", "gb200", "tdp_w").basis == "vendor"


def test_a_bare_value_of_a_block_is_the_scenarios_estimate() -> None:
    value = block("gpus: {gb200: {embodied: 290 kg}}").provenance("gpus", "gb200", "embodied_gco2e")
    assert (value.source, value.basis, value.date) == ("scenario", "estimate", "")
    assert value.written == "290 kg"


def test_a_block_may_state_source_basis_and_range() -> None:
    text = "gpus: {gb200: {idle: {value: 160 W, basis: measured, low: 150 W, high: 170 W, note: our rack}}}"
    value = block(text).provenance("gpus", "gb200", "idle_w")
    assert (value.value, value.low, value.high, value.basis, value.note) == (
        160,
        150,
        170,
        "measured",
        "our rack",
    )


def test_plain_python_values_are_a_block_too() -> None:
    own = CATALOG.with_block({"nodes": {"two": {"like": "hgx-h100-8", "gpus_per_node": 2}}})
    assert own.node("two").gpus_per_node == 2


def test_an_empty_block_changes_nothing() -> None:
    assert CATALOG.with_block({}) is CATALOG


def test_a_grid_of_ones_own_needs_only_its_mix() -> None:
    grid = block(
        "grids: {island: {title: Island, timezone: UTC, mix: {oil: 0.9, wind: 0.1}, mix_year: 2024}}"
    ).grid("island")
    table = grid.month_hour(CATALOG.factors("ipcc-ar5-lifecycle").g_per_kwh)
    assert table == pytest.approx(np.full((12, 24), 0.9 * 650 + 0.1 * 11))
    assert grid.price_mean_usd_per_kwh is None


def test_a_changed_mix_keeps_the_fuels_rhythms() -> None:
    own = block("grids: {DE: {mix: {solar: 0.5, gas: 0.5}}}").grid("DE")
    table = own.month_hour({"solar": 0.0, "gas": 500.0})
    assert table[0, 0] == pytest.approx(500.0)
    assert table[5, 11] < 200.0


def test_every_mistake_of_a_block_is_told_at_once_with_its_line() -> None:
    text = """\
gpus:
  mine: {like: h100-sxm, memori: 80 GB, tdp: 700 watts}
  other: {like: h100-smx}
nodes:
  n: {like: hgx-h100-8, gpu: h100-sxn, gpus_per_node: 7.5}
"""
    told = mistakes(text)
    assert told.startswith("5 problems")
    assert "x.yaml:2:34: catalog.gpus.mine.memori: unknown name 'memori'\n    did you mean 'memory'?" in told
    assert "x.yaml:2:46: catalog.gpus.mine.tdp: '700 watts'" in told
    assert "did you mean W?" in told
    assert "catalog.gpus.other.like: no 'h100-smx' to be like\n    did you mean 'h100-sxm'?" in told
    assert "catalog.nodes.n.gpus_per_node: expected a whole number, got '7.5'" in told


def test_a_reference_to_nothing_is_refused() -> None:
    told = mistakes("nodes: {n: {like: hgx-h100-8, gpu: h100-sxn}}")
    assert "catalog.nodes.n.gpu: no 'h100-sxn' among the catalog's gpus\n    did you mean 'h100-sxm'?" in told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu: {x: {}}", "unknown name 'gpu'\n    did you mean 'gpus'?"),
        ("gpus: [1, 2]", "expected NAME: ENTRY, got a list"),
        ("gpus: {x: 5}", "expected FIELD: VALUE, got '5'"),
        ("[1, 2]", "expected KIND: ENTRIES, got a list"),
        ("gpus: {x: {title: X}}", "'tdp' is missing"),
        ("gpus: {x: {like: h100-sxm, memory: null}}", "'memory' may not be blank"),
        ("gpus: {x: {like: h100-sxm, memory: 80}}", "'80'"),
        ("gpus: {x: {like: h100-sxm, memory: -80 GB}}", "'-80 GB' is below zero"),
        ("gpus: {x: {like: h100-sxm, memory: [80 GB]}}", "expected one value, got a list"),
        ("gpus: {x: {like: h100-sxm, memory: {value: 80 GB, sorce: me}}}", "did you mean 'source'?"),
        ("gpus: {x: {like: h100-sxm, memory: {value: 80 GB, source: me}}}", "unknown source 'me'"),
        ("gpus: {x: {like: h100-sxm, memory: {value: 80 GB, basis: gues}}}", "unknown basis 'gues'"),
        ("gpus: {x: {like: h100-sxm, memory: {value: 80 GB, low: 70}}}", "'70'"),
        ("gpus: {x: {like: x}}", "no 'x' to be like"),
        ("gpus: {x: {like: y}, y: {like: x}}", "are each like the other"),
        ("gpus: {x: {like: h100-sxm, source: nowhere, memory: 1 GB}}", "unknown source 'nowhere'"),
        ("nodes: {x: {like: hgx-h100-8, liquid_heat: 1.2}}", "'1.2' is not a fraction between 0 and 1"),
        ("grids: {DE: {mix: {coal: 0.5}}}", "the mix of DE sums to 0.5; expected 1"),
        ("grids: {DE: {mix: [coal]}}", "expected NAME: VALUE for each name, got a list"),
        ("grids: {DE: {price_shape: 1 2 3}}", "expected 12 x 24 = 288 finite numbers, got 3"),
        ("shapes: {x: {title: X, multipliers: one two}}", "a table holds bare numbers"),
        ("models: {x: {like: llama-3.1-8b, attention: mqa}}", "attention is 'mqa'"),
        ("models: {x: {like: llama-3.1-8b, kv_heads: 7}}", "32 heads do not divide into 7 key-value heads"),
        ("models: {x: {like: llama-3.1-8b, gated_mlp: yes}}", "expected true or false, got 'yes'"),
        ("models: {x: {like: llama-3.1-8b, aliases: {a: b}}}", "expected a list of names, got a map of keys"),
        ("engines: {x: {like: vllm-v1, scheduler: vllm}}", "scheduler is 'vllm'"),
        ("factors: {x: {title: X, kind: marginal, g_per_kwh: {}}}", "kind is 'marginal'"),
        ("chains: {x: {title: X, stages: 3}}", "expected a list, got '3'"),
        ("chains: {x: {title: X, stages: [3]}}", "expected FIELD: VALUE, got '3'"),
        ("chains: {x: {title: X, stages: [{linear: 0.1}]}}", "'stage' is missing"),
        ("chains: {x: {title: X, stages: [{stage: ups, liner: 0.1}]}}", ".ups.liner: unknown name 'liner'"),
        ("failures: {llama3-2024: {causes: [{cause: x, scope: rack, events: 1, repair: 1 h, detect: 1 s, "
         "recover: 1 s}]}}", "causes.x: scope is 'rack'"),
    ],
)  # fmt: skip
def test_what_a_bad_block_says(text: str, expected: str) -> None:
    assert expected in mistakes(text)


def test_a_folder_is_laid_over_the_shipped_files(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text("our-lab: {title: Our logs, publisher: Lab, date: 2026-10}\n")
    (tmp_path / "gpus.yaml").write_text(
        "h100-sxm:\n  source: our-lab\n  basis: measured\n  idle: 75 W\n", encoding="utf-8"
    )
    own = CATALOG.with_directory(tmp_path)
    assert own.gpu("h100-sxm").idle_w == 75.0
    assert own.provenance("gpus", "h100-sxm", "idle_w").date == "2026-10"
    assert own.provenance("gpus", "h100-sxm", "tdp_w").source == "nvidia-h100"
    assert CATALOG.gpu("h100-sxm").idle_w == 72.0


def test_a_folders_mistakes_name_the_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "gpus.yaml").write_text("h100-sxm:\n  idel: 75 W\n", encoding="utf-8")
    with pytest.raises(
        ScenarioError, match=r"gpus.yaml:2:9: catalog.gpus.h100-sxm.idel: unknown name 'idel'"
    ):
        CATALOG.with_directory(tmp_path)


def test_a_file_of_no_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gpu.yaml").write_text("x: {}\n", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"no kind of catalog entries\n    did you mean 'gpus'\?"):
        CATALOG.with_directory(tmp_path)


def test_a_source_without_a_date_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text("lab: {title: Logs, publisher: Lab}\n", encoding="utf-8")
    with pytest.raises(ScenarioError, match="lab: a source needs date"):
        CATALOG.with_directory(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no such catalog folder"):
        CATALOG.with_directory(tmp_path / "nowhere")


def test_tables_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        CATALOG.shape("flat").multipliers[0] = 2.0


def test_asking_for_one_kind_reads_no_other_file() -> None:
    """What a run does not use, it does not wait for."""
    code = (
        "from simulator.catalog import shelf\n"
        "read = []\n"
        "path = shelf.read_path\n"
        "shelf.read_path = lambda *a: read.append(a[1]) or path(*a)\n"
        "shelf.Catalog.shipped().gpu('h100-sxm')\n"
        "print(sorted(read))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['gpus.yaml', 'sources.yaml']"
