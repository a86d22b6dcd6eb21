"""Smaller models: shapes shrink as said, and nonsense is refused."""

from __future__ import annotations

import pytest

from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import CatalogError, LayoutError
from simulator.llm.architecture import Architecture
from simulator.llm.memory import only_experts_narrow, weight_bytes
from simulator.llm.number_formats import WEIGHTS, weight_format
from simulator.llm.transforms import TRANSFORMS, transformed


def shape(name):
    return Architecture.from_spec(Catalog.shipped().model(name))


def test_published_cuts_of_llama_8b():
    """Sreenivas et al. 2024, table 1: Llama 3.1 Minitron 4B has 4.5 B weights, by width or by depth."""
    whole = shape("llama-3.1-8b")
    narrow = transformed(whole, "prune-width", keep_fraction=0.70)
    assert (narrow.hidden % 128, narrow.ffn % 128) == (0, 0)
    shallow = transformed(whole, "prune-depth", keep_fraction=0.5)
    assert shallow.layers == 16
    assert shallow.parameters == pytest.approx(4.5e9, rel=0.02)
    assert weight_bytes(narrow, "bf16") < 0.75 * weight_bytes(whole, "bf16")


def test_a_student_keeps_its_own_shape_and_is_smaller():
    student = transformed(shape("deepseek-v3"), "distill", student=shape("llama-3.1-8b"))
    assert student.layers == 32
    assert "distilled from deepseek-v3" in student.name
    with pytest.raises(LayoutError, match="more than its teacher"):
        transformed(shape("llama-3.1-8b"), "distill", student=shape("llama-3.1-70b"))
    with pytest.raises(LayoutError, match="name the student"):
        transformed(shape("llama-3.1-8b"), "distill")


def test_unknown_names_say_the_nearest():
    with pytest.raises(LayoutError, match="did you mean 'prune-width'"):
        transformed(shape("llama-3.1-8b"), "prune_width")
    with pytest.raises(CatalogError, match="did you mean 'nvfp4'"):
        weight_format("nvfp-4")


def test_every_narrow_format_and_transform_quotes_a_publication():
    for weights in WEIGHTS.values():
        assert not weights.is_narrow or "20" in weights.quality
    assert all("arXiv" in kind.quality for kind in TRANSFORMS.values())


@pytest.mark.parametrize(
    ("model", "precision", "published_bytes", "tolerance"),
    [
        ("gpt-oss-120b", "mxfp4", 60.8 * 2**30, 0.05),  # OpenAI model card: 60.8 GiB checkpoint
        ("gpt-oss-20b", "mxfp4", 12.8 * 2**30, 0.08),  # the same: 12.8 GiB
        ("kimi-k2", "int4", 594e9, 0.10),  # Kimi K2 Thinking INT4: 594 GB
    ],
)
def test_four_bit_checkpoints_weigh_what_was_published(model, precision, published_bytes, tolerance):
    architecture = shape(model)
    assert only_experts_narrow(architecture, precision)
    assert weight_bytes(architecture, precision) == pytest.approx(published_bytes, rel=tolerance)
