"""Sizes of transformers against what their makers publish."""

from __future__ import annotations

import pytest

from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import CatalogError
from simulator.llm.architecture import Architecture

CATALOG = Catalog.shipped()


@pytest.mark.parametrize("name", CATALOG.names("models"))
def test_every_model_on_the_shelf_has_the_weights_its_maker_says(name):
    spec = CATALOG.get("models", name)
    found = Architecture.from_spec(spec).parameters
    assert found == pytest.approx(spec.parameters, rel=0.03)


def test_a_gpt_layer_has_twelve_hidden_squared_weights():
    gpt = Architecture("gpt", 10, 512, 8, 8, 64, 2048, 1000, gated_mlp=False)
    assert gpt.layer_parameters == 10 * 12 * 512**2


def test_tied_embeddings_count_once():
    apart = Architecture("a", 2, 64, 4, 4, 16, 256, 1000)
    tied = Architecture("a", 2, 64, 4, 4, 16, 256, 1000, tied_embeddings=True)
    assert apart.parameters - tied.parameters == 64 * 1000


def test_a_token_meets_only_its_experts():
    model = Architecture("m", 4, 64, 4, 4, 16, 0, 100, experts=8, experts_per_token=2, expert_ffn=128)
    per_expert = 3 * 64 * 128
    assert model.parameters - model.active_parameters == 4 * 6 * per_expert


def test_latent_attention_remembers_its_ranks_only():
    deepseek = Architecture.from_spec(CATALOG.get("models", "deepseek-v3"))
    assert deepseek.kv_values_per_token == 61 * (512 + 64)


def test_grouped_heads_shrink_what_is_remembered():
    llama = Architecture.from_spec(CATALOG.get("models", "llama-3.1-70b"))
    assert llama.kv_values_per_token == 2 * 80 * 8 * 128


def test_a_windowed_model_looks_back_less():
    model = Architecture("w", 2, 64, 4, 4, 16, 256, 100, sliding_window=128, windowed_fraction=0.5)
    assert model.attended_tokens(100) == 100
    assert model.attended_tokens(1128) == 0.5 * 128 + 0.5 * 1128


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"layers": 0}, "layers is 0"),
        ({"kv_heads": 3}, "heads 4 is not a multiple of kv_heads 3"),
        ({"experts": 4}, "4 experts need experts_per_token"),
        ({"ffn": 0}, "ffn is 0 and there are no experts"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(changes, text):
    sizes = {"layers": 2, "hidden": 64, "heads": 4, "kv_heads": 4, "head_dim": 16, "ffn": 256, "vocab": 100}
    with pytest.raises(CatalogError, match=text):
        Architecture("bad", **(sizes | changes))
