"""Degrees that contradict each other are refused with the nearest good thing."""

from __future__ import annotations

import pytest

from simulator.foundation.errors import LayoutError
from simulator.llm.layout import Layout


def test_the_gpus_are_the_product_of_the_degrees():
    layout = Layout(8, 16, 64, 1, global_batch=2048, context_tokens=8192)
    assert layout.gpus == 8192
    assert layout.replica_gpus == 128
    assert layout.microbatches == 32
    assert layout.tokens_per_step == 2048 * 8192


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"tensor_parallel": 0}, "tensor_parallel is 0"),
        ({"data_parallel": 3, "global_batch": 8}, "nearest good: 6"),
        ({"recompute": "selectiv"}, "did you mean 'selective'"),
        ({"precision": "bf-16"}, "known: fp32, tf32, fp16, bf16, fp8, fp4"),
        ({"zero_stage": 4}, "expected 0, 1, 2 or 3"),
        ({"interleave": 2}, "needs pipeline_parallel of at least 2"),
        ({"expert_parallel": 3, "data_parallel": 4, "global_batch": 4}, "expert_parallel 3 must divide"),
    ],
)
def test_bad_layouts_are_refused(fields, text):
    with pytest.raises(LayoutError, match=text):
        Layout(**fields)


def test_shrinking_keeps_the_batch_divisible():
    layout = Layout(data_parallel=8, micro_batch=2, global_batch=64)
    smaller = layout.with_data_parallel(7)
    assert smaller.gpus == 7
    assert smaller.global_batch % 14 == 0
    assert abs(smaller.global_batch - 64) <= 7


def test_the_description_names_what_differs():
    layout = Layout(8, 16, 64, interleave=8, global_batch=2048, recompute="selective")
    assert layout.describe() == "tp8 pp16 vp8 dp64 mb1 recompute-selective zero1"
