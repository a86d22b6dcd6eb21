"""Published training runs: their memory, their speed, their layout.

Where a number was used to set a coefficient, the test says so; everything else is a check.
"""

from __future__ import annotations

import pytest

from simulator.catalog.shelf import Catalog
from simulator.foundation.units import GIB
from simulator.llm.activations import layer_activation_bytes
from simulator.llm.architecture import Architecture
from simulator.llm.flops import FlopConvention, training_flop_per_token
from simulator.llm.layout import Layout
from simulator.llm.memory import state_bytes_per_parameter
from simulator.network.spread import Spread
from simulator.performance.layouts import choose_layout
from simulator.performance.training import estimate

CATALOG = Catalog.shipped()
H100, HGX = CATALOG.get("gpus", "h100-sxm"), CATALOG.get("nodes", "hgx-h100-8")
LLAMA_405B = Architecture.from_spec(CATALOG.get("models", "llama-3.1-405b"))
GPT_22B = Architecture("22B", 48, 6144, 64, 64, 96, 24576, 51200, gated_mlp=False, tied_embeddings=True)


def test_korthikanti_22b_activations():
    """Korthikanti et al. 2022, figure 1: 22B, t = 8, b = 4 keeps 59.25 GiB of activations."""
    layout = Layout(8, micro_batch=4, global_batch=4, sequence_parallel=False, fused_attention=False)
    assert 48 * layer_activation_bytes(GPT_22B, layout) / GIB == pytest.approx(59.25, abs=0.005)


def test_korthikanti_22b_state():
    """Same figure: weights and optimiser take 45.56 GiB a GPU, 18 bytes x 12 l h^2 / 8."""
    found = state_bytes_per_parameter(0, 1) * GPT_22B.layer_parameters / 8 / GIB
    assert found == pytest.approx(45.56, abs=0.005)


def test_palm_540b_mfu():
    """PaLM: 238.3 thousand tokens/s on 6,144 TPU v4 of 275 TFLOP/s is 46.2 % MFU (118 layers)."""
    palm = Architecture("palm", 118, 18432, 48, 1, 256, 73728, 256_000, gated_mlp=True, tied_embeddings=True)
    per_token = training_flop_per_token(palm, 2048)
    assert 238.3e3 * per_token / (6144 * 275e12) == pytest.approx(0.462, abs=0.006)


@pytest.mark.parametrize(
    ("data", "context_parallel", "batch", "context", "published", "tolerance"),
    [
        # Nothing was fitted to these; found 6 % above, 4 % above and 5 % below.
        (64, 1, 2048, 8192, 0.43, 0.075),
        (128, 1, 2048, 8192, 0.41, 0.055),
        (8, 16, 128, 131_072, 0.38, 0.065),
    ],
)
def test_llama_3_405b_mfu(data, context_parallel, batch, context, published, tolerance):
    """Llama 3, table 4: 43, 41 and 38 % MFU of 989 TFLOP/s on 8,192 and 16,384 H100.

    The interleave is not printed; one layer a chunk is taken. Attention counts its causal
    half, as 38 % at 131,072 tokens requires.
    """
    layout = Layout(
        8,
        16,
        data,
        context_parallel,
        interleave=8,
        global_batch=batch,
        context_tokens=context,
        recompute="selective",
        zero_stage=2,
    )
    spread = Spread.compact(layout.gpus, 8, nodes_per_leaf=2, leaves_per_pod=192)
    profile = estimate(LLAMA_405B, layout, H100, HGX, spread)
    assert profile.mfu_fraction(FlopConvention.MODEL_CAUSAL) == pytest.approx(published, rel=tolerance)


def test_auto_finds_llama_3s_own_layout():
    """Llama 3 trained on 16,384 H100 with TP 8, PP 16, DP 128 and micro-batches of one."""
    choice = choose_layout(LLAMA_405B, H100, HGX, gpus=16_384, global_batch=2048, context_tokens=8192)
    layout = choice.best.layout
    assert (layout.tensor_parallel, layout.pipeline_parallel, layout.data_parallel) == (8, 16, 128)


def test_gpt3_on_v100_hours():
    """GPT-3: 3,552,000 V100-hours for 300 billion tokens are 24.6 TFLOP/s a GPU (Patterson 2021).

    Neither layout nor software is published; Megatron's of that year is assumed (TP 8, PP 16,
    no interleaving, full recomputation). Nothing was fitted to V100. Found: 5 % above.
    """
    gpt3 = Architecture.from_spec(CATALOG.get("models", "gpt3-175b"))
    layout = Layout(
        8,
        16,
        64,
        global_batch=1536,
        context_tokens=2048,
        precision="fp16",
        recompute="full",
        sequence_parallel=False,
        fused_attention=False,
    )
    node = CATALOG.get("nodes", "hgx-v100-8")
    profile = estimate(gpt3, layout, CATALOG.get("gpus", node.gpu), node)
    useful = profile.flop_per_gpu(FlopConvention.MODEL_FULL) / profile.step_s
    published = 6 * 175e9 * 300e9 / (3_552_000 * 3600)
    assert published == pytest.approx(24.6e12, rel=0.005)
    assert useful == pytest.approx(published, rel=0.08)


def test_megascale_baseline_of_256_gpus():
    """MegaScale: Megatron-LM trains 175B at 43.3 PFLOP/s on 256 A100, 169 TFLOP/s a GPU.

    Not fitted; found 7 % below (5 % below the 53.0 % MFU that the same table prints). The layout is
    assumed as Megatron-LM would have run it: TP 8, PP 8, interleave 6, batch 768, micro-batch 1,
    selective recomputation with sequence parallelism, ZeRO-1.
    """
    model = Architecture(
        "175B", 96, 12288, 128, 128, 96, 49152, 64_000, gated_mlp=False, tied_embeddings=True
    )
    layout = Layout(8, 8, 4, interleave=6, global_batch=768, recompute="selective", fused_attention=False)
    node = CATALOG.get("nodes", "hgx-a100-8")
    profile = estimate(model, layout, CATALOG.get("gpus", node.gpu), node)
    assert profile.flop_per_gpu() / profile.step_s == pytest.approx(169e12, rel=0.08)
