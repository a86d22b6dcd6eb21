"""Rows of cases: whole, blank, mutilated, and of models nobody has measured here."""

from __future__ import annotations

import csv
import gzip
import io

import pytest
from click.testing import CliRunner

from analysis.estimation import KINDS, training
from analysis.estimation.case_file import REFUSED, as_csv, predict_rows, read_rows
from simulator.catalog.shelf import Catalog
from simulator.cli.commands import datahall
from simulator.foundation.errors import TraceError
from simulator.performance.profile import BREAKDOWN_KEYS

LLAMA = {
    "model": "LLAMA3_8B",
    "gpu_type": "DGX-H100",
    "n_gpus": "8",
    "TP": "1",
    "PP": "1",
    "DP": "8",
    "CP": "1",
    "VP_interleave": "1",
    "micro_batch": "1",
    "global_batch_seqs": "128",
    "seq_len": "8192",
    "precision": "FP8",
    "recompute": "none",
    "tflops_kind": "model; attention counted causal half",
}
predict = training.predictor(Catalog.shipped())


def refusal(**changes):
    (found,) = predict_rows([{**LLAMA, **changes}], predict)
    return found[REFUSED]


def test_the_parts_are_the_step():
    found = predict(LLAMA)
    assert sum(found[key] for key in BREAKDOWN_KEYS) == pytest.approx(found["predicted_step_s"], rel=1e-12)
    assert set(found) == set(training.PREDICTED)


def test_a_model_with_all_columns_needs_no_catalog():
    shape = {
        "layers": "32",
        "hidden": "4096",
        "heads": "32",
        "kv_heads": "8",
        "ffn": "14336",
        "vocab": "128256",
    }
    known, own = (
        predict({**LLAMA, **shape}),
        predict({**LLAMA, **shape, "model": "ours", "family": "llama-dense"}),
    )
    assert own["predicted_step_s"] == known["predicted_step_s"]


def test_gates_are_read_from_the_parameter_count():
    shape = {
        "layers": "32",
        "hidden": "4096",
        "heads": "32",
        "kv_heads": "32",
        "ffn": "16384",
        "vocab": "50257",
    }
    plain = predict({**LLAMA, **shape, "model": "ours", "params_B": "6.65"})
    gated = predict({**LLAMA, **shape, "model": "ours", "params_B": "8.8"})
    assert "not gated" in plain["assumed"]
    assert "gated" in gated["assumed"]
    assert gated["predicted_step_s"] > 1.15 * plain["predicted_step_s"]


def test_experts_told_in_words_are_the_catalogs():
    shape = {"layers": "48", "hidden": "2048", "heads": "32", "kv_heads": "4", "vocab": "151936", "EP": "8"}
    words = {**LLAMA, **shape, "ffn": "expert 768; 128 experts top-8"}
    known = predict({**words, "model": "Qwen3_30B_a3B (tokendrop)"})
    # The head size is not among the words: 64 where the model has 128.
    assert predict({**words, "model": "ours"})["predicted_step_s"] < known["predicted_step_s"]


@pytest.mark.parametrize(
    ("kind", "counted", "ratio"),
    [
        ("hardware (counts recompute)", "hardware-full", None),
        ("model; attention counted causal half (6N+6Lhs per token)", "model-causal", 1.0),
        ("model; attention counted in full (6N+12Lhs per token)", "model-full", 1.0),
        ("", "model-full", 1.0),
    ],
)
def test_the_ruler_is_the_rows_own(kind, counted, ratio):
    found = predict({**LLAMA, "tflops_kind": kind, "recompute": "full"})
    assert found["flop_convention"] == counted
    mfu = found["predicted_tflops_per_gpu"] * 1e12 / 1979e12
    if ratio is None:
        assert mfu > 1.2 * found["predicted_mfu"]
    else:
        assert mfu == pytest.approx(ratio * found["predicted_mfu"], rel=1e-9)


def test_a_stated_peak_is_the_rows_own():
    stated = predict({**LLAMA, "peak_tflops_used_for_mfu": "989"})
    assert stated["predicted_mfu"] == pytest.approx(predict(LLAMA)["predicted_mfu"] * 1979 / 989)


@pytest.mark.parametrize(
    "blank",
    ["TP", "PP", "DP", "CP", "VP_interleave", "micro_batch", "global_batch_seqs", "seq_len", "precision",
     "recompute", "tflops_kind", "n_gpus"],
)  # fmt: skip
def test_what_is_blank_is_filled_and_said(blank):
    found = predict({**LLAMA, blank: ""})
    assert found["predicted_step_s"] > 0
    if blank not in ("CP", "TP", "PP", "VP_interleave"):
        assert blank in found["assumed"] or "FLOP counted" in found["assumed"]
    absent = {key: value for key, value in LLAMA.items() if key != blank}
    assert predict({**absent, "n_gpus": absent.get("n_gpus", "")}) == found


def test_a_blank_micro_batch_is_the_fastest_that_fits():
    chosen = predict({**LLAMA, "micro_batch": ""})
    tried = [predict({**LLAMA, "micro_batch": str(size)}) for size in (1, 2, 4, 8, 16)]
    fitting = [found for found in tried if found["memory_bytes_per_gpu"] <= 80e9] or tried[:1]
    assert chosen["predicted_step_s"] == min(found["predicted_step_s"] for found in fitting)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"TP": "3"}, "do not divide n_gpus 8"),
        ({"DP": "4"}, "= 4 ranks, and n_gpus is 8"),
        ({"TP": "a few"}, "TP is 'a few'; expected a whole number"),
        ({"micro_batch": "-1"}, "micro_batch is '-1'"),
        ({"gpu_type": "TPU v4"}, "'TPU v4' is not known; known:"),
        ({"model": "LLAMA3-9B"}, "did you mean 'llama"),
        ({"model": "Nemotron_3_Nano"}, "no such model in the catalog"),
        ({"global_batch_seqs": "12"}, "nearest good: 8"),
        ({"EP": "8"}, "no experts"),
        ({"CP": "2", "DP": "4", "kv_heads": "64 (MLA)", "model": "x", "layers": "2", "hidden": "64",
          "heads": "64", "ffn": "expert 3; 4 experts top-1"}, "latent attention needs its ranks"),
        ({"precision": "FP4"}, "no fp4"),
        ({"peak_tflops_used_for_mfu": "many"}, "peak_tflops_used_for_mfu is 'many'"),
        ({"n_gpus": "", "DP": ""}, "n_gpus is blank"),
        ({"recompute": "some"}, "recompute is 'some'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_reason(changes, reason):
    assert reason in refusal(**changes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty; expected a header"),
        ("model,gpu_type\nx,y\n", "cases.csv:1: no column 'n_gpus'"),
        ("model,gpu_type,n_gpus,model\n", "cases.csv:1: column 'model' stands twice"),
        ("model,gpu_type,n_gpus\nx,H100,8\nx,H100\n", "cases.csv:3: 2 cells, expected 3"),
        ('model,gpu_type,n_gpus\n"x,H100,8\n', "cases.csv:2"),
        ("model;gpu_type;n_gpus\n", "no column 'model'"),
    ],
)
def test_a_file_that_is_no_table_is_told_by_line(tmp_path, text, reason):
    path = tmp_path / "cases.csv"
    path.write_text(text)
    with pytest.raises(TraceError) as caught:
        read_rows(path, training.REQUIRED)
    assert reason in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00m", b"\x1f\x8bnonsense"])
def test_bytes_that_are_no_text_are_told(tmp_path, content):
    path = tmp_path / "cases.csv"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=r"expected a CSV|broken gzip"):
        read_rows(path, training.REQUIRED)


def test_the_command_keeps_columns_and_order(tmp_path):
    columns = ["note", *LLAMA]
    rows = [{"note": 'a "quoted, word"', **LLAMA}, {"note": "", **LLAMA, "model": "nobody"}]
    text = as_csv(columns, rows, (), [{}, {}])
    path, out = tmp_path / "cases.csv.gz", tmp_path / "out.csv"
    path.write_bytes(gzip.compress(text.encode()))
    told = CliRunner().invoke(datahall, ["estimate", "training", str(path), "-o", str(out)])
    assert told.exit_code == 0, told.output
    assert "1 rows predicted, 1 refused" in told.output
    found = list(csv.DictReader(io.StringIO(out.read_text())))
    assert list(found[0])[: len(columns)] == columns
    assert [row["note"] for row in found] == [row["note"] for row in rows]
    assert float(found[0]["predicted_step_s"]) > 0
    assert found[1]["predicted_step_s"] == ""
    assert "nobody" in found[1]["refused"]
    # A second estimate replaces what the first one added.
    again = CliRunner().invoke(datahall, ["estimate", "training", str(out)])
    assert again.output == out.read_text()


def test_an_unknown_kind_is_told():
    told = CliRunner().invoke(datahall, ["estimate", "trainin", "x.csv"])
    assert told.exit_code == 2
    assert "did you mean 'training'" in told.output
    assert "training" in KINDS


def test_every_shared_row_is_predicted_or_refused_for_its_shape(shared_data):
    for name, refused in (("training_steps.csv", 20), ("single_node_steps.csv", 0)):
        _, rows = read_rows(shared_data / "training" / name, training.REQUIRED)
        rows = rows[:: 1 if name.startswith("training") else 12]
        found = predict_rows(rows, predict)
        told = [row[REFUSED] for row in found if REFUSED in row]
        assert len(told) <= refused, told
        fair = [
            row
            for row, one in zip(rows, found, strict=True)
            if REFUSED in one and row.get("fair", "").startswith("yes")
        ]
        assert not fair
