"""Rows of silicon points and of ML.ENERGY become cases; what cannot be predicted says why."""

from __future__ import annotations

import csv
import math

import pytest
from click.testing import CliRunner

from analysis.estimation.serving import case_line, kv_tokens, outcome, predictor
from analysis.estimation.serving_cases import CaseReader
from simulator.catalog.shelf import Catalog
from simulator.cli.commands import datahall
from simulator.foundation.errors import DatahallError
from simulator.llm.memory import kv_bytes_per_token, weight_bytes
from simulator.performance.decoder_time import Deployment
from simulator.serving.closed_loop import NO_HOLD

SILICON = {
    "id": "x",
    "backend": "vllm",
    "model_path": "meta-llama/Llama-3.1-70B",
    "system": "h200_sxm",
    "precision": "fp8",
    "mode": "agg",
    "isl": "1024",
    "osl": "1024",
    "gemm_quant_mode": "fp8",
    "moe_quant_mode": "fp8",
    "batch_size": "16.0",
    "tp_size": "4.0",
    "attention_dp_size": "1.0",
    "moe_tp_size": "4.0",
    "moe_ep_size": "1.0",
}
#: What every load test of InferenceX says of itself.
SCRIPTED = "source_file=x.csv; silicon_concurrency=16; "
ENERGY = {
    "gpu_model": "H100",
    "model_id": "meta-llama/Llama-3.1-70B-Instruct",
    "num_gpus": "4",
    "tensor_parallel": "4.0",
    "expert_parallel": "1.0",
    "data_parallel": "1.0",
    "weight_precision": "bfloat16",
    "avg_batch_size": "8",
    "avg_output_len": "350",
    "task": "lm-arena-chat",
}


@pytest.fixture(scope="module")
def reader():
    return CaseReader(Catalog.shipped())


def predicted(**changes):
    return predictor(Catalog.shipped())({**SILICON, **changes})


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek-v3"),
        ("nvidia/DeepSeek-V3.1-NVFP4", "deepseek-v3"),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8", "qwen3-235b-a22b"),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3-30b-a3b"),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", "llama-3.1-8b"),
        ("google/gemma-3-27b-it", "gemma-3-27b"),
        ("MiniMaxAI/MiniMax-M2.5", "minimax-m2"),
        ("moonshotai/Kimi-K2.5", "kimi-k2"),
    ],
)
def test_published_ids_find_their_shape(reader, said, name):
    assert reader.architecture(said).name == name


@pytest.mark.parametrize(
    "said", ["deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "acme/Llama-9-70B", "Qwen/Qwen3-235B-A22B-Vision"]
)
def test_another_model_is_refused_with_the_nearest(reader, said):
    with pytest.raises(DatahallError, match="no model"):
        reader.architecture(said)


def test_gpus_by_a_sources_name(reader):
    assert reader.gpu("h100_sxm").name == "h100-sxm"
    assert reader.gpu("gb200").name == "gb200"
    assert reader.gpu("a100_sxm").name == "a100-sxm-80gb"
    with pytest.raises(DatahallError, match="did you mean 'h200-sxm'"):
        reader.gpu("h220_sxm")


@pytest.mark.parametrize(
    ("columns", "deployment", "users"),
    [
        # tensor, attention groups, experts cut, experts dealt
        ((8, 1, 8, 1), Deployment(8, 1, 1), 16),
        ((8, 1, 1, 8), Deployment(8, 1, 8), 16),
        ((4, 4, 1, 16), Deployment(1, 4, 4), 64),  # both degrees written for four GPUs
        ((64, 1, 8, 8), Deployment(8, 1, 8), 16),  # cut and dealt over the same eight
        ((1, 64, 8, 8), Deployment(1, 8, 8), 1024),
        ((72, 1, 72, 1), Deployment(1, 32, 32), 16),  # 72 do not cut 128 heads: 32 decode, 40 prefill
    ],
)
def test_degrees_as_the_source_writes_them(reader, columns, deployment, users):
    names = ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    row = {**SILICON, "model_path": "deepseek-ai/DeepSeek-V3", "system": "b200_sxm", "backend": "trtllm"}
    case = reader.case({**row, **dict(zip(names, map(str, columns), strict=True))})
    assert case.decode.deployment == deployment
    assert case.users == users


def test_more_users_and_longer_prompts_take_longer():
    base = predicted()
    wide = {"precision": "", "gemm_quant_mode": ""}
    for change in ({"batch_size": "32"}, {"isl": "4096"}, {"tp_size": "2.0"}, wide):
        slower = predicted(**change)
        assert slower["predicted_tpot_ms"] > base["predicted_tpot_ms"]
        assert slower["predicted_ttft_ms"] > base["predicted_ttft_ms"]


def test_h200_follows_from_h100_by_its_bandwidth():
    """No coefficient knows an H200; decoding is faster by less than the ratio of bandwidths."""
    slow, fast = predicted(system="h100_sxm"), predicted(system="h200_sxm")
    assert 1.1 < slow["predicted_tpot_ms"] / fast["predicted_tpot_ms"] < 4.8 / 3.35


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "disagg"}, "the batch on each replica is not known"),
        ({"isl": ""}, "isl and osl must be positive"),
        ({"batch_size": ""}, "the number of users is not known"),
        ({"tp_size": "eight"}, "tp_size: 'eight' is not a number"),
        ({"tp_size": "1.0", "precision": "", "gemm_quant_mode": "", "system": "h100_sxm"}, "leave no room"),
    ],
)
def test_refusals_say_what_is_missing(change, message):
    with pytest.raises(DatahallError, match=message):
        predicted(**change)


def test_a_steady_state_has_watts_over_all_its_gpus_and_joules(reader):
    found = outcome(reader.case(ENERGY))
    assert 4 * 400 < found.power_w < 4 * 500  # ML.ENERGY v3: 1,765 W
    assert found.joules_per_token == pytest.approx(found.power_w * found.tpot_s / 8)
    with pytest.raises(DatahallError, match="images and video run an encoder"):
        reader.case({**ENERGY, "task": "image-chat"})


def test_the_command_keeps_rows_and_order(tmp_path):
    rows = [SILICON, {**SILICON, "model_path": "acme/none"}, {**SILICON, "batch_size": "4.0"}]
    source, out = tmp_path / "cases.csv", tmp_path / "out.csv"
    with source.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(SILICON))
        writer.writeheader()
        writer.writerows(rows)
    result = CliRunner().invoke(datahall, ["estimate", "serving", str(source), "-o", str(out)])
    assert result.exit_code == 0, result.output
    with out.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["model_path"] for row in found] == [row["model_path"] for row in rows]
    assert float(found[0]["predicted_tpot_ms"]) > float(found[2]["predicted_tpot_ms"]) > 0
    assert float(found[0]["predicted_joules_per_token"]) > 0
    assert found[1]["predicted_tpot_ms"] == ""
    assert "no model 'acme/none'" in found[1]["refused"]


def test_two_prompts_and_answers_at_once_of_a_pool_apart(reader):
    """Prefill apart from decode: a first token needs its prompt, a step, and what the others hold up."""
    degrees = {
        f"{stage}_{name}": "8" if name == "tp_size" else "1"
        for stage in ("prefill", "decode")
        for name in ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size", "num_workers")
    }
    row = {**SILICON, **degrees, "mode": "disagg", "decode_batch_size": "8", "prefill_batch_size": "1"}
    few, many = (outcome(reader.case({**row, "decode_batch_size": count})) for count in ("8", "64"))
    assert few.ttft_s < many.ttft_s
    assert few.tpot_s < many.tpot_s
    assert few.power_w > 0


def test_a_batch_that_waits_for_tokens_is_in_the_launch_line():
    """InferenceMAX held prompts of Llama 70B back for 20 steps on TensorRT-LLM at 1k/1k below 8 GPUs."""
    row = {"backend": "trtllm", "system": "b200_sxm", "batch_size": "4.0", "silicon_data_source": SCRIPTED}
    held, free = (predicted(**row, tp_size=tp) for tp in ("4.0", "8.0"))
    longer = predicted(**row, tp_size="4.0", osl="8192")
    waited_ms = held["predicted_ttft_ms"] - longer["predicted_ttft_ms"]
    assert 10 * held["predicted_tpot_ms"] < waited_ms < 25 * held["predicted_tpot_ms"]
    assert free["predicted_ttft_ms"] < 0.6 * held["predicted_ttft_ms"]


def test_disaggregated_rows_without_pools_take_the_usual_ones(reader):
    row = {**SILICON, "mode": "disagg", "model_path": "deepseek-ai/DeepSeek-V3", "system": "gb200"}
    row |= {"id": "x_c4096_y", "batch_size": "", "decode_tp_size": "4.0", "prefill_tp_size": "4.0"}
    case = reader.case(row)
    assert (case.users, case.decode.deployment) == (4096, Deployment(1, 32, 32))
    assert case.prefill.workers == 0
    assert "replicas of both stages as they usually are" in case.assumed
    assert outcome(case).ttft_s > outcome(case).tpot_s > 0


def test_every_attention_group_has_a_copy_of_the_attention_and_room_of_its_own(reader):
    """MiniMax M2 on eight H100 of 80 GB: by hand, of the parts of a GPU's memory."""

    def room(groups):
        said = {"model_path": "MiniMaxAI/MiniMax-M2.5", "system": "h100_sxm", "batch_size": "8.0"}
        said |= {"tp_size": f"{8 // groups}.0", "attention_dp_size": f"{groups}.0"}
        said |= {"moe_tp_size": "1.0", "moe_ep_size": "8.0"}
        case = reader.case({**SILICON, **said})
        return kv_tokens(case, case.decode), case

    (one, case), (eight, _) = room(1), room(8)
    model, memory_bytes = case.architecture, case.gpu.memory_bytes
    experts_bytes = model.moe_layers * model.experts * model.expert_parameters
    rest_bytes = weight_bytes(model, "fp8") - experts_bytes
    left_bytes = 0.95 * memory_bytes - 4.5e9 - experts_bytes / 8
    # Eight heads of keys and values: one on each GPU, or all of a token's on the one of its group.
    token_bytes = kv_bytes_per_token(model, case.kv_precision)
    assert model.kv_heads == 8
    assert one == pytest.approx((left_bytes - rest_bytes / 8) / (token_bytes / 8), rel=1e-3)
    assert eight == pytest.approx(8 * (left_bytes - rest_bytes) / token_bytes, rel=1e-3)
    assert eight < one


def test_prompts_of_a_generator_that_repeats_itself_are_remembered_where_they_fit(reader):
    """AIConfigurator's own runs send 100 prompts in turn: 10 rounds of 64 users meet most again."""
    row = {**SILICON, "isl": "4096", "osl": "128", "batch_size": "64.0"}
    own = {**row, "silicon_data_source": "aic-auto-gap-analysis"}
    fresh, known = outcome(reader.case(row)), outcome(reader.case(own))
    assert known.ttft_s < 0.7 * fresh.ttft_s
    assert known.tpot_s < 0.7 * fresh.tpot_s
    full = {"tp_size": "1.0", "moe_tp_size": "1.0", "isl": "8192"}
    fresh, known = outcome(reader.case(row | full)), outcome(reader.case(own | full))
    assert known == fresh


def test_both_degrees_mean_dealt_experts_alone_under_vllm_on_hopper(reader):
    """Its scripts have no data-parallel attention; MiniMax on 4 H100 measured the same under both names."""
    degrees = {"tp_size": "4", "attention_dp_size": "4", "moe_tp_size": "1", "moe_ep_size": "16"}
    case = reader.case({**SILICON, "model_path": "MiniMaxAI/MiniMax-M2.5", **degrees})
    assert case.decode.deployment == Deployment(4, 1, 4)
    assert case.users == 64


def test_a_step_without_a_captured_graph_takes_what_the_host_needs_to_start_it():
    """Runs on TensorRT-LLM 1.3.0rc1 captured one sequence: 85 to 92 ms a step of DeepSeek R1 on B200."""
    row = {
        "backend": "trtllm",
        "model_path": "nvidia/DeepSeek-R1-NVFP4",
        "system": "b200_sxm",
        "precision": "nvfp4",
        "tp_size": "8.0",
        "moe_tp_size": "1.0",
        "moe_ep_size": "8.0",
        "batch_size": "8.0",
        "silicon_data_source": "aic-auto-gap-analysis",
    }
    eager = predicted(**row, backend_version="1.3.0rc1")["predicted_tpot_ms"]
    captured = predicted(**row, backend_version="1.3.0rc5")["predicted_tpot_ms"]
    assert 70 < eager < 110
    assert captured < 0.25 * eager


def test_kernels_that_nobody_warmed_up_delay_the_first_wave():
    """SGLang, NVFP4, November 2025: 5 to 9 s in the mean where prompts fill a chunk, else below 1 s."""
    row = {
        "backend": "sglang",
        "model_path": "deepseek-ai/DeepSeek-R1",
        "system": "b200_sxm",
        "precision": "fp4",
        "tp_size": "8.0",
        "moe_tp_size": "8.0",
    }
    cold = f"{SCRIPTED}measured=2025-11-10"
    few = predicted(**row, batch_size="8.0", silicon_data_source=cold)["predicted_ttft_ms"]
    many = predicted(**row, batch_size="64.0", silicon_data_source=cold)["predicted_ttft_ms"]
    since = f"{SCRIPTED}measured=2026-03-25"
    warm = predicted(**row, batch_size="64.0", silicon_data_source=since)["predicted_ttft_ms"]
    assert few < 1000 < 5000 < many < 9000
    assert warm < 1000


@pytest.mark.parametrize(
    ("users", "workers", "places"), [(55, 5, 40), (668, 4, 512), (64, 4, math.inf), (30, 5, math.inf)]
)
def test_decoders_of_tensorrt_llm_have_a_power_of_two_of_places(reader, users, workers, places):
    """Recipes ask with up to 1.4 users for a place: of 55 users of five replicas of 8 places 15 wait."""
    degrees = {
        f"{stage}_{name}": "4" if name == "tp_size" else "1"
        for stage in ("prefill", "decode")
        for name in ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size", "num_workers")
    }
    row = {**SILICON, **degrees, "backend": "trtllm", "mode": "disagg", "system": "gb200", "precision": "fp4"}
    row |= {"model_path": "moonshotai/Kimi-K2.5", "decode_num_workers": str(workers)}
    row |= {"decode_batch_size": str(users / workers), "prefill_batch_size": "1"}
    row |= {"silicon_data_source": SCRIPTED}
    case = reader.case(row)
    assert case.users == pytest.approx(users, abs=workers)
    assert case.places == places


def test_without_stated_pools_users_are_more_than_places(reader):
    row = {**SILICON, "backend": "trtllm", "mode": "disagg", "model_path": "moonshotai/Kimi-K2.5"}
    row |= {"batch_size": "", "decode_tp_size": "8.0", "prefill_tp_size": "4.0", "system": "gb200"}
    booked, even = (
        reader.case({**row, "silicon_data_source": f"silicon_concurrency={users}"}) for users in (1229, 1024)
    )
    assert booked.places == pytest.approx(1024, rel=0.01)
    assert even.places == math.inf


@pytest.mark.parametrize(
    "row",
    [
        {"backend": "vllm", "model_path": "openai/gpt-oss-120b", "precision": "fp4"},
        {"backend": "sglang", "precision": "fp4"},
        {"backend": "trtllm"},
        {
            "backend": "trtllm",
            "model_path": "deepseek-ai/DeepSeek-R1",
            "attention_dp_size": "4",
            "moe_ep_size": "4",
        },
        {"backend": "trtllm", "backend_version": "1.3.0rc1"},
    ],
)
def test_a_row_of_unknown_origin_gets_its_engines_defaults_and_says_so(reader, row):
    """Neither scripts of a campaign nor what its rows show: nothing is held, short or compiled."""
    row = {**SILICON, "system": "b200_sxm", **row}
    case = reader.case(row)
    line = case_line(case)
    plain = (line.hold, line.places_short, line.distinct_prompts, line.compiles_s, line.captured_tokens)
    assert plain == (NO_HOLD, None, None, 0.0, None)
    assert case.places == math.inf
    assert "started with its engine's defaults" in case.assumed
    scripted = reader.case({**row, "silicon_data_source": f"{SCRIPTED}measured=2025-11-10"})
    assert case_line(scripted) != line
    assert "started with its engine's defaults" not in scripted.assumed
