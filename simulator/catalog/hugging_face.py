"""A model's shape from a Hugging Face ``config.json``; nothing is fetched."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from simulator.catalog.entries import ModelSpec
from simulator.foundation.errors import CatalogError
from simulator.foundation.names import hint

Fields = dict[str, Any]

#: Ends of names that are read as files.
SUFFIX: Final = ".json"


class _Config:
    """A configuration's keys, and which of them were missing."""

    def __init__(self, said: Mapping[str, Any], where: str) -> None:
        self.said = said
        self.where = where

    def count(self, *names: str, default: int | None = None) -> int:
        """Return the first of several keys as a whole number; null counts as missing."""
        for name in names:
            value = self.said.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
                raise CatalogError(f"{self.where}: {name} is {value!r}; expected a whole number")
            return int(value)
        if default is None:
            known = " or ".join(names)
            raise CatalogError(
                f"{self.where}: no {known}; expected a whole number\n    {self._hint(names[0])}"
            )
        return default

    def flag(self, name: str, default: bool) -> bool:
        """Return a key that is true or false."""
        value = self.said.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise CatalogError(f"{self.where}: {name} is {value!r}; expected true or false")
        return value

    def below(self, name: str) -> _Config:
        """Return a mapping inside."""
        value = self.said.get(name)
        if not isinstance(value, dict):
            raise CatalogError(f"{self.where}: no {name}; expected a mapping\n    {self._hint(name)}")
        return _Config(value, f"{self.where}: {name}")

    def _hint(self, name: str) -> str:
        return hint(name, sorted(str(key) for key in self.said))


def read_model(path: Path) -> ModelSpec:
    """Return the model of a ``config.json``, named after its folder.

    Raises
    ------
    CatalogError
        If the file is none, of an architecture that is not known, or lacks a key.
    """
    fields = model_fields(path)
    try:
        return ModelSpec(name=model_name(path), **fields)
    except ValueError as error:
        raise CatalogError(f"{path}: {error}") from None


def model_name(path: Path) -> str:
    """Return what a file's model is called: its folder, or its own name, and where it is from.

    Examples
    --------
    >>> model_name(Path("models/Llama-3.1-8B/config.json")), model_name(Path("mine.json"))
    ('Llama-3.1-8B-config', 'mine-config')
    """
    whole = path.absolute()
    return f"{whole.parent.name if whole.stem == 'config' and whole.parent.name else whole.stem}-config"


def model_fields(path: Path) -> Fields:
    """Return the fields of a catalog entry for a ``config.json``, without those that are 0.

    Raises
    ------
    CatalogError
        If the file is none, of an architecture that is not known, or lacks a key.
    """
    try:
        said = json.loads(path.read_bytes())
    except OSError as error:
        raise CatalogError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except ValueError as error:
        raise CatalogError(f"{path}: not JSON: {error}") from None
    if not isinstance(said, dict):
        raise CatalogError(f"{path}: expected the mapping of a config.json")
    # Models that also see or hear keep the language model's shape in a mapping of its own.
    inner = said.get("text_config")
    config = said if not isinstance(inner, dict) else {**said, **inner}
    kind = config.get("model_type")
    if kind not in READERS and said.get("model_type") in READERS:
        kind = said["model_type"]
    if not isinstance(kind, str) or kind not in READERS:
        told = f"model_type {kind!r} is not known" if kind else "no model_type"
        raise CatalogError(f"{path}: {told}\n    {hint(str(kind or ''), READERS, limit=40)}")
    fields = READERS[kind](_Config(config, str(path)))
    latent, heads = fields.get("kv_lora_rank"), fields["heads"]
    if latent:
        fields["kv_heads"] = heads
        fields["head_dim"] = fields["qk_nope_head_dim"] + fields["qk_rope_head_dim"]
    fields["attention"] = "mla" if latent else "mha" if fields["kv_heads"] == heads else "gqa"
    fields["kind"] = "moe" if fields.get("experts") else "dense"
    fields["title"] = model_name(path).removesuffix("-config")
    return fields


def _llama(config: _Config) -> Fields:
    """Return the shape of Llama and of all that keep its names: gated, rotary, untied."""
    hidden, heads = config.count("hidden_size"), config.count("num_attention_heads")
    return {
        "layers": config.count("num_hidden_layers"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": config.count("num_key_value_heads", default=heads),
        "head_dim": config.count("head_dim", default=hidden // heads),
        "ffn": config.count("intermediate_size"),
        "gated_mlp": True,
        "vocab": config.count("vocab_size"),
        "tied_embeddings": config.flag("tie_word_embeddings", default=False),
        "context_tokens": config.count("max_position_embeddings"),
    }


def _plain(config: _Config) -> Fields:
    """Return a shape with Llama's names and two matrices in the feed-forward layer."""
    return {**_llama(config), "gated_mlp": False}


def _mistral(config: _Config) -> Fields:
    return {**_llama(config), **_window(config, every=0)}


def _starcoder2(config: _Config) -> Fields:
    return {
        **_plain(config),
        **_window(config, every=0),
        "tied_embeddings": config.flag("tie_word_embeddings", default=True),
    }


def _qwen(config: _Config) -> Fields:
    fields = _llama(config)
    if config.flag("use_sliding_window", default=False):
        full = config.count("max_window_layers", default=0)
        every = round(fields["layers"] / full) if full else 0
        fields |= _window(config, every=every)
    return fields


def _gemma(config: _Config) -> Fields:
    return {**_llama(config), "tied_embeddings": config.flag("tie_word_embeddings", default=True)}


def _gemma2(config: _Config) -> Fields:
    return {**_gemma(config), **_window(config, every=2)}


def _gemma3(config: _Config) -> Fields:
    every = config.count("sliding_window_pattern", "_sliding_window_pattern", default=6)
    return {**_gemma(config), **_window(config, every=every)}


def _mixtral(config: _Config) -> Fields:
    return {
        **_mistral(config),
        "ffn": 0,
        "experts": config.count("num_local_experts"),
        "experts_per_token": config.count("num_experts_per_tok"),
        "expert_ffn": config.count("intermediate_size"),
    }


def _gpt_oss(config: _Config) -> Fields:
    return {
        **_llama(config),
        **_window(config, every=2),
        "ffn": 0,
        "experts": config.count("num_local_experts"),
        "experts_per_token": config.count("num_experts_per_tok", "experts_per_token"),
        "expert_ffn": config.count("intermediate_size"),
    }


def _qwen_moe(config: _Config) -> Fields:
    fields = _qwen(config)
    layers, step = fields["layers"], config.count("decoder_sparse_step", default=1)
    dense = len(config.said.get("mlp_only_layers") or ()) + layers - layers // step
    shared = config.count("shared_expert_intermediate_size", default=0)
    return {
        **fields,
        "ffn": fields["ffn"] if dense else 0,
        "experts": config.count("num_experts"),
        "experts_per_token": config.count("num_experts_per_tok"),
        "expert_ffn": config.count("moe_intermediate_size"),
        "shared_experts": 1 if shared else 0,
        "shared_expert_ffn": shared,
        "dense_layers": dense,
    }


def _fine_experts(config: _Config) -> Fields:
    """Return the shape of DeepSeek and of what follows it: shared experts, dense first layers."""
    expert = config.count("moe_intermediate_size")
    return {
        **_llama(config),
        "experts": config.count("n_routed_experts"),
        "experts_per_token": config.count("num_experts_per_tok"),
        "expert_ffn": expert,
        "shared_experts": config.count("n_shared_experts", default=0),
        "shared_expert_ffn": expert if config.count("n_shared_experts", default=0) else 0,
        "dense_layers": config.count("first_k_dense_replace", default=0),
        "mtp_layers": config.count("num_nextn_predict_layers", default=0),
    }


def _deepseek(config: _Config) -> Fields:
    return {
        **_fine_experts(config),
        "q_lora_rank": config.count("q_lora_rank", default=0),
        "kv_lora_rank": config.count("kv_lora_rank"),
        "qk_nope_head_dim": config.count("qk_nope_head_dim"),
        "qk_rope_head_dim": config.count("qk_rope_head_dim"),
        "v_head_dim": config.count("v_head_dim"),
        "index_heads": config.count("index_n_heads", default=0),
        "index_head_dim": config.count("index_head_dim", default=0),
        "index_top_tokens": config.count("index_topk", default=0),
    }


def _llama4(config: _Config) -> Fields:
    fields = _llama(config)
    step = config.count("interleave_moe_layer_step", default=1)
    dense = fields["layers"] - fields["layers"] // step
    chunk = config.count("attention_chunk_size", default=0)
    return {
        **fields,
        "ffn": config.count("intermediate_size_mlp") if dense else 0,
        "experts": config.count("num_local_experts"),
        "experts_per_token": config.count("num_experts_per_tok"),
        "expert_ffn": config.count("intermediate_size"),
        "shared_experts": 1,
        "shared_expert_ffn": config.count("intermediate_size"),
        "dense_layers": dense,
        "sliding_window_tokens": chunk,
        "full_attention_every": config.count("no_rope_layer_interval", default=4) if chunk else 1,
    }


def _gpt2(config: _Config) -> Fields:
    hidden, heads = config.count("n_embd", "hidden_size"), config.count("n_head", "num_attention_heads")
    positions = config.count("n_positions", "max_position_embeddings")
    return {
        "layers": config.count("n_layer", "num_hidden_layers"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": 1 if config.flag("multi_query", default=False) else heads,
        "head_dim": hidden // heads,
        "ffn": config.count("n_inner", default=4 * hidden),
        "gated_mlp": False,
        "vocab": config.count("vocab_size"),
        "tied_embeddings": config.flag("tie_word_embeddings", default=True),
        "context_tokens": positions,
        "learned_positions": positions,
    }


def _opt(config: _Config) -> Fields:
    hidden, heads = config.count("hidden_size"), config.count("num_attention_heads")
    positions = config.count("max_position_embeddings")
    return {
        "layers": config.count("num_hidden_layers"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": heads,
        "head_dim": hidden // heads,
        "ffn": config.count("ffn_dim", default=4 * hidden),
        "gated_mlp": False,
        "vocab": config.count("vocab_size"),
        "tied_embeddings": config.flag("tie_word_embeddings", default=True),
        "context_tokens": positions,
        "learned_positions": positions + 2,
    }


def _bloom(config: _Config) -> Fields:
    hidden, heads = config.count("hidden_size", "n_embed"), config.count("n_head", "num_attention_heads")
    return {
        "layers": config.count("n_layer", "num_hidden_layers"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": heads,
        "head_dim": hidden // heads,
        "ffn": 4 * hidden,
        "gated_mlp": False,
        "vocab": config.count("vocab_size"),
        "tied_embeddings": config.flag("tie_word_embeddings", default=True),
        "context_tokens": config.count("seq_length", default=2048),
    }


def _falcon(config: _Config) -> Fields:
    hidden, heads = config.count("hidden_size"), config.count("num_attention_heads", "n_head")
    grouped = config.flag("new_decoder_architecture", default=False)
    single = config.flag("multi_query", default=True) and not grouped
    return {
        "layers": config.count("num_hidden_layers", "n_layer"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": 1 if single else config.count("num_kv_heads", "n_head_kv", default=heads),
        "head_dim": hidden // heads,
        "ffn": config.count("ffn_hidden_size", default=4 * hidden),
        "gated_mlp": False,
        "vocab": config.count("vocab_size"),
        "tied_embeddings": config.flag("tie_word_embeddings", default=True),
        "context_tokens": config.count("max_position_embeddings", default=2048),
    }


def _mpt(config: _Config) -> Fields:
    hidden, heads = config.count("d_model"), config.count("n_heads")
    context = config.count("max_seq_len")
    attention = config.said.get("attn_config") or {}
    alibi = isinstance(attention, dict) and bool(attention.get("alibi"))
    learned = config.flag("learned_pos_emb", default=True) and not alibi
    return {
        "layers": config.count("n_layers"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": heads,
        "head_dim": hidden // heads,
        "ffn": config.count("expansion_ratio", default=4) * hidden,
        "gated_mlp": False,
        "vocab": config.count("vocab_size"),
        "tied_embeddings": config.flag("tie_word_embeddings", default=True),
        "context_tokens": context,
        "learned_positions": context if learned else 0,
    }


def _dbrx(config: _Config) -> Fields:
    hidden, heads = config.count("d_model"), config.count("n_heads")
    attention, experts = config.below("attn_config"), config.below("ffn_config")
    return {
        "layers": config.count("n_layers"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": attention.count("kv_n_heads", default=heads),
        "head_dim": hidden // heads,
        "ffn": 0,
        "gated_mlp": True,
        "vocab": config.count("vocab_size"),
        "tied_embeddings": config.flag("tie_word_embeddings", default=False),
        "context_tokens": config.count("max_seq_len"),
        "experts": experts.count("moe_num_experts"),
        "experts_per_token": experts.count("moe_top_k"),
        "expert_ffn": experts.count("ffn_hidden_size"),
    }


def _window(config: _Config, *, every: int) -> Fields:
    """Return window and pattern; ``every``: of so many layers one sees all, 0 for none."""
    size = config.count("sliding_window", default=0)
    if not size:
        return {}
    kinds = config.said.get("layer_types")
    if isinstance(kinds, list) and kinds:
        full = sum(kind == "full_attention" for kind in kinds)
        every = round(len(kinds) / full) if full else 0
        if every == 1:
            return {}
    return {"sliding_window_tokens": size, "full_attention_every": every}


#: ``model_type`` -> what reads its shape.
READERS: Final[dict[str, Callable[[_Config], Fields]]] = {
    "llama": _llama,
    "olmo2": _llama,
    "mistral": _mistral,
    "mixtral": _mixtral,
    "qwen2": _qwen,
    "qwen3": _qwen,
    "qwen2_moe": _qwen_moe,
    "qwen3_moe": _qwen_moe,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "gemma3_text": _gemma3,
    "gpt_oss": _gpt_oss,
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "kimi_k2": _deepseek,
    "glm4_moe": _fine_experts,
    "llama4": _llama4,
    "llama4_text": _llama4,
    "dbrx": _dbrx,
    "nemotron": _plain,
    "starcoder2": _starcoder2,
    "gpt2": _gpt2,
    "gpt_bigcode": _gpt2,
    "gpt_neox": _plain,
    "opt": _opt,
    "bloom": _bloom,
    "falcon": _falcon,
    "mpt": _mpt,
}
