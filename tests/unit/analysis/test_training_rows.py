"""Rows of published training steps: what they say, and what is taken where they are silent."""

from __future__ import annotations

import pytest

from analysis.calibration.training import family, publisher
from analysis.calibration.training_rows import Shapes, case_of
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import LayoutError

CATALOG = Catalog.shipped()
COLUMNS = (
    *("tier", "source", "read_from", "model", "family", "params_B", "active_params_B", "layers", "hidden"),
    *("heads", "kv_heads", "ffn", "vocab", "seq_len", "gpu_type", "n_gpus", "TP", "PP", "DP", "CP", "EP"),
    *("VP_interleave", "FSDP", "micro_batch", "global_batch_seqs", "precision", "recompute"),
    *("seq_parallel", "iter_time_s", "notes"),
)
LLAMA = {
    "source": "NVIDIA 26.04 NeMo Container",
    "model": "L70",
    "family": "llama-dense",
    "layers": "80",
    "hidden": "8192",
    "heads": "64",
    "kv_heads": "8",
    "ffn": "28672",
    "vocab": "128256",
    "seq_len": "8192",
    "gpu_type": "DGX-GB300",
    "n_gpus": "64",
    "TP": "1",
    "PP": "1",
    "DP": "64",
    "micro_batch": "2",
    "global_batch_seqs": "256",
    "precision": "NVFP4",
    "iter_time_s": "4.68",
}


def case(shapes=(), **changes):
    return case_of({**dict.fromkeys(COLUMNS, ""), **LLAMA, **changes}, Shapes(shapes), CATALOG)


def test_a_release_is_a_date():
    assert case().release_year == pytest.approx(2026.25)
    assert case(source="MosaicML llm-foundry").release_year is None


def test_a_layout_that_cannot_fit_must_shard_its_weights():
    """70B in Adam's 18 bytes is 1.3 TB a GPU without shards: the row left FSDP out."""
    assert case().layout.zero_stage == 3
    assert case(PP="8", DP="8").layout.zero_stage == 1


def test_recomputation_is_the_least_that_fits_unless_printed():
    assert case(micro_batch="1", FSDP="64").layout.recompute == "none"
    assert case(FSDP="64").layout.recompute == "selective"
    assert case(FSDP="64", recompute="full").layout.recompute == "full"


@pytest.mark.parametrize(
    ("gpu", "precision", "fsdp", "notes", "fused"),
    [
        ("DGX-H100", "BF16", "", "", True),
        ("A100-80GB SXM", "bf16", "", "", False),
        ("A100-80GB SXM", "bf16", "", "FlashAttention-2", True),
        ("a100_80gb", "amp_bf16", "FULL_SHARD", "", True),
    ],
)
def test_attention_follows_the_era(gpu, precision, fsdp, notes, fused):
    made = case(gpu_type=gpu, precision=precision, FSDP=fsdp, notes=notes, TP="8", PP="8", DP="1")
    assert made.layout.fused_attention is fused


def test_one_name_means_the_shape_of_who_used_it():
    small = {"model": "GPT 1.7B", "used_by": "Megatron SC21", "hidden": "2304", "layers": "24", "heads": "24"}
    other = {
        "model": "GPT 1.7B",
        "used_by": "Megatron-Core H100",
        "hidden": "2048",
        "layers": "24",
        "heads": "16",
    }
    said = {"model": "GPT 1.7B", "layers": "", "hidden": "", "heads": "", "kv_heads": "", "ffn": "8192"}
    assert case((small, other), source="Narayanan et al. SC21", **said).architecture.hidden == 2304
    assert case((small, other), source="Megatron-Core README H100", **said).architecture.hidden == 2048


def test_a_vocabulary_that_was_not_read_is_the_one_that_fits():
    noted = {
        "model": "N8",
        "used_by": "NVIDIA",
        "gated_mlp": "0",
        "source": "vocab not read (256000 fits to 0.1 %)",
    }
    assert case((noted,), model="N8", vocab="").architecture.vocab == 256_000
    assert case(vocab="").architecture.vocab == 32_000


def test_an_unknown_gpu_and_a_model_without_sizes_are_refused():
    with pytest.raises(LayoutError, match="GPU 'TPU v4' is not known"):
        case(gpu_type="TPU v4")
    with pytest.raises(LayoutError, match="layers, width or heads are not printed"):
        case(layers="")


def test_names_of_one_model_and_one_publisher():
    assert family(case(model="LLAMA3-8B")) == family(case(model="LLAMA3_8B (tokendrop)"))
    assert publisher(case()) == publisher(case(source="NVIDIA 25.09 NeMo Container")) == "NVIDIA"
