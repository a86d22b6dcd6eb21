"""Shapes from config.json: the models that people use, and files that are none of them."""

from __future__ import annotations

import json

import pytest

from analysis.estimation import training
from simulator.catalog.hugging_face import READERS, model_name, read_model
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import CatalogError, ScenarioError
from simulator.llm.architecture import Architecture
from simulator.scenario import load_file, load_text
from simulator.scenario.assumptions import assumptions
from simulator.scenario.writing import as_yaml

CATALOG = Catalog.shipped()


def llama(layers, hidden, heads, kv, ffn, vocab, context, **more):
    return {
        "model_type": "llama",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": ffn,
        "vocab_size": vocab,
        "max_position_embeddings": context,
        "tie_word_embeddings": False,
        **more,
    }


#: As released, cut to the keys that say something about the shape; and the catalog's own entry.
RELEASED = {
    "llama-3.1-8b": llama(32, 4096, 32, 8, 14336, 128256, 131072),
    "llama-3.2-1b": llama(16, 2048, 32, 8, 8192, 128256, 131072, head_dim=64, tie_word_embeddings=True),
    "mistral-7b": llama(32, 4096, 32, 8, 14336, 32000, 32768, model_type="mistral", sliding_window=4096),
    "mixtral-8x7b": llama(
        32, 4096, 32, 8, 14336, 32000, 32768, model_type="mixtral", num_local_experts=8,
        num_experts_per_tok=2, sliding_window=None,
    ),
    "qwen2.5-7b": llama(
        28, 3584, 28, 4, 18944, 152064, 32768, model_type="qwen2", sliding_window=131072,
        use_sliding_window=False, max_window_layers=28,
    ),
    "qwen3-14b": llama(40, 5120, 40, 8, 17408, 151936, 40960, model_type="qwen3", head_dim=128),
    "qwen3-30b-a3b": llama(
        48, 2048, 32, 4, 6144, 151936, 40960, model_type="qwen3_moe", head_dim=128, num_experts=128,
        num_experts_per_tok=8, moe_intermediate_size=768, decoder_sparse_step=1, mlp_only_layers=[],
    ),
    "gemma-2-9b": llama(
        42, 3584, 16, 8, 14336, 256128, 8192, model_type="gemma2", head_dim=256, sliding_window=4096,
        tie_word_embeddings=True,
    ),
    "gemma-3-27b": {
        "model_type": "gemma3",
        "text_config": llama(
            62, 5376, 32, 16, 21504, 262208, 131072, model_type="gemma3_text", head_dim=128,
            sliding_window=1024, sliding_window_pattern=6, tie_word_embeddings=True,
        ),
    },
    "gpt-oss-20b": llama(
        24, 2880, 64, 8, 2880, 201088, 131072, model_type="gpt_oss", head_dim=64, num_local_experts=32,
        num_experts_per_tok=4, sliding_window=128, layer_types=["sliding_attention", "full_attention"] * 12,
    ),
    "deepseek-v3": llama(
        61, 7168, 128, 128, 18432, 129280, 163840, model_type="deepseek_v3", n_routed_experts=256,
        num_experts_per_tok=8, moe_intermediate_size=2048, n_shared_experts=1, first_k_dense_replace=3,
        q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
        num_nextn_predict_layers=1,
    ),
    "deepseek-v2-lite": llama(
        27, 2048, 16, 16, 10944, 102400, 32768, model_type="deepseek_v2", n_routed_experts=64,
        num_experts_per_tok=6, moe_intermediate_size=1408, n_shared_experts=2, first_k_dense_replace=1,
        q_lora_rank=None, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
    ),
    "glm-4.5": llama(
        92, 5120, 96, 8, 12288, 151552, 131072, model_type="glm4_moe", head_dim=128, n_routed_experts=160,
        num_experts_per_tok=8, moe_intermediate_size=1536, n_shared_experts=1, first_k_dense_replace=3,
    ),
    "llama-4-maverick": {
        "model_type": "llama4",
        "text_config": llama(
            48, 5120, 40, 8, 8192, 202048, 1048576, model_type="llama4_text", head_dim=128,
            intermediate_size_mlp=16384, num_local_experts=128, num_experts_per_tok=1,
            interleave_moe_layer_step=2, attention_chunk_size=8192,
        ),
    },
    "gpt2-xl": {
        "model_type": "gpt2", "n_layer": 48, "n_embd": 1600, "n_head": 25, "n_positions": 1024,
        "n_inner": None, "vocab_size": 50257,
    },
    "falcon-7b": {
        "model_type": "falcon", "num_hidden_layers": 32, "hidden_size": 4544, "num_attention_heads": 71,
        "multi_query": True, "new_decoder_architecture": False, "vocab_size": 65024,
    },
    "bloom-176b": {"model_type": "bloom", "n_layer": 70, "hidden_size": 14336, "n_head": 112,
                   "vocab_size": 250880},
    "dbrx-132b": {
        "model_type": "dbrx", "n_layers": 40, "d_model": 6144, "n_heads": 48, "max_seq_len": 32768,
        "vocab_size": 100352, "attn_config": {"kv_n_heads": 8},
        "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4},
    },
    "opt-30b": {
        "model_type": "opt", "num_hidden_layers": 48, "hidden_size": 7168, "num_attention_heads": 56,
        "ffn_dim": 28672, "vocab_size": 50272, "max_position_embeddings": 2048,
    },
}  # fmt: skip


def write(folder, config, name="Mine"):
    path = folder / name / "config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_config_is_the_catalogs_entry(tmp_path, name):
    read = Architecture.from_spec(read_model(write(tmp_path, RELEASED[name])))
    known = Architecture.from_spec(CATALOG.model(name))
    fields = set(Architecture.__dataclass_fields__) - {"name"}
    if name.startswith("deepseek-v3"):
        assert read.mtp_layers == 1
    assert {f: getattr(read, f) for f in fields} == {f: getattr(known, f) for f in fields}


def test_every_reader_is_known_by_a_name_of_hugging_face():
    assert len(READERS) >= 25
    assert all(name == name.lower() for name in READERS)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("{", "not JSON"),
        ("[1]", "expected the mapping"),
        ({"hidden_size": 1}, "no model_type"),
        ({"model_type": "qwen3_next"}, "'qwen3_next' is not known\n    did you mean 'qwen3"),
        ({"model_type": "mamba2"}, "known: llama"),
        ({**RELEASED["llama-3.1-8b"], "hidden_size": None}, "no hidden_size"),
        ({**RELEASED["llama-3.1-8b"], "vocab_size": "many"}, "vocab_size is 'many'; expected a whole number"),
        ({**RELEASED["llama-3.1-8b"], "tie_word_embeddings": "no"}, "expected true or false"),
        ({**RELEASED["llama-3.1-8b"], "num_key_value_heads": 7}, "do not divide"),
        ({**RELEASED["mixtral-8x7b"], "num_experts_per_tok": 9}, "visits 9 of 8 experts"),
        ({**RELEASED["dbrx-132b"], "ffn_config": None}, "no ffn_config"),
    ],
)
def test_what_is_no_known_config_is_told(tmp_path, config, text):
    path = tmp_path / "config.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(CatalogError, match=text) as caught:
        read_model(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(CatalogError, match="no such file"):
        read_model(tmp_path / "config.json")


SCENARIO = """
title: own model
start: 2026-01-01T00:00Z
duration: 1 d
sites:
  - name: a
    grid: DE
    cooling: {plant: constant-pue, pue: 1.2}
    pools: [{name: h100, node: hgx-h100-8, nodes: 8}]
workloads:
  - {kind: training, name: big, model: MODEL, tokens: 1 B, gpus: 64, global_batch: 128}
"""


def test_a_scenario_may_name_a_config_beside_it(tmp_path):
    config = write(tmp_path, RELEASED["qwen3-14b"])
    path = tmp_path / "own.yaml"
    path.write_text(SCENARIO.replace("MODEL", "Mine/config.json"))
    scenario = load_file(path, "own.yaml", (), ())
    assert scenario.workloads[0].model == "Mine-config"
    assert scenario.catalog.model("Mine-config").layers == 40
    row = next(row for row in assumptions(scenario) if row.key == "catalog.models.Mine-config.layers")
    assert (row.value, row.origin, row.source, row.basis) == (40, "you", "scenario", "vendor")
    # What is resolved holds the shape itself: the file may go.
    text = as_yaml(scenario)
    config.unlink()
    again = load_text(text)
    assert again.catalog.model("Mine-config") == scenario.catalog.model("Mine-config")
    assert again.hash == scenario.hash


def test_what_is_wrong_with_a_config_stands_with_the_scenarios_mistakes(tmp_path):
    write(tmp_path, {"model_type": "mamba2"})
    path = tmp_path / "own.yaml"
    path.write_text(SCENARIO.replace("MODEL", "Mine/config.json").replace("grid: DE", "grid: XX"))
    with pytest.raises(ScenarioError) as caught:
        load_file(path, "own.yaml", (), ())
    assert "own.yaml:11" in str(caught.value)
    assert "model_type 'mamba2' is not known" in str(caught.value)
    assert "XX" in str(caught.value)


def test_cases_may_name_a_config(tmp_path):
    path = write(tmp_path, RELEASED["llama-3.1-8b"])
    row = {"model": "llama-3.1-8b", "gpu_type": "H100", "n_gpus": "8", "TP": "1", "PP": "1",
           "micro_batch": "1", "global_batch_seqs": "128", "seq_len": "8192"}  # fmt: skip
    predict = training.predictor(CATALOG)
    assert predict({**row, "model": str(path)})["predicted_step_s"] == predict(row)["predicted_step_s"]


def test_a_model_is_called_after_its_folder(tmp_path):
    assert model_name(tmp_path / "X" / "config.json") == "X-config"
    assert model_name(tmp_path / "small.json") == "small-config"
