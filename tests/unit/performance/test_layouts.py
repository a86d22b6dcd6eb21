"""Choosing a layout: it fits, it is the fastest, and it says why."""

from __future__ import annotations

import pytest

from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import LayoutError
from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout
from simulator.llm.memory import training_memory
from simulator.performance.layouts import choose_layout, nearest_fit
from simulator.performance.training import estimate


@pytest.fixture(scope="module")
def choice(llama_8b, h100, hgx):
    return choose_layout(llama_8b, h100, hgx, gpus=384, global_batch=1536, context_tokens=8192)


def test_the_choice_uses_all_gpus_and_fits(choice, h100):
    assert choice.best.layout.gpus == 384
    assert choice.best.memory.total_bytes <= h100.memory_bytes


def test_no_runner_up_is_faster(choice):
    rates = [p.unit_per_step / p.step_s for p in (choice.best, *choice.runners_up)]
    assert rates == sorted(rates, reverse=True)
    assert len(choice.runners_up) >= 2


def test_the_reasons_name_layout_and_loss(choice):
    first, *others = choice.reasons()
    assert first.startswith(choice.best.layout.describe())
    assert "fastest of" in first
    slower = [line for line in others if "slower" in line]
    assert len(slower) == len(choice.runners_up)
    assert all(" s" in line.split("slower,")[1] for line in slower)


def test_a_batch_that_does_not_divide_is_moved_and_said(llama_8b, h100, hgx):
    choice = choose_layout(llama_8b, h100, hgx, gpus=384, global_batch=1000, context_tokens=8192)
    batch = choice.best.layout.global_batch
    assert 950 <= batch <= 1050
    assert f"global batch {batch} instead of 1000" in choice.reasons()[0]


def test_the_same_question_has_the_same_answer(choice, llama_8b, h100, hgx):
    again = choose_layout(llama_8b, h100, hgx, gpus=384, global_batch=1536, context_tokens=8192)
    assert again.best.layout == choice.best.layout
    assert again.reasons() == choice.reasons()


def test_what_fits_nowhere_is_refused_with_the_nearest(llama_70b, h100, hgx):
    with pytest.raises(LayoutError, match=r"does not fit 8 GPUs of 80 GiB .*nearest, tp8"):
        choose_layout(llama_70b, h100, hgx, gpus=8, global_batch=8, context_tokens=8192)


def test_a_batch_smaller_than_any_replica_count_is_refused(llama_8b, h100, hgx):
    with pytest.raises(LayoutError, match="no layout gives 1 sequences"):
        choose_layout(llama_8b, h100, hgx, gpus=7 * 512, global_batch=1, context_tokens=2048)


def test_less_memory_would_be_taken_if_it_were_there(llama_70b, h100, hgx):
    """What is said to be faster but too big is both."""
    choice = choose_layout(llama_70b, h100, hgx, gpus=256, global_batch=512, context_tokens=8192)
    big = choice.too_big_but_faster
    assert big is not None
    need = training_memory(llama_70b, big.layout)
    assert need.total_bytes > h100.memory_bytes
    assert big.unit_per_step / big.step_s > choice.best.unit_per_step / choice.best.step_s
    assert f"needs {need.total_bytes / 2**30:.1f} GiB of 79.7 GiB" in choice.reasons()[-1]


def test_what_is_given_is_not_searched(llama_70b, h100, hgx):
    free = choose_layout(llama_70b, h100, hgx, gpus=256, global_batch=512, context_tokens=8192)
    given = {"tensor_parallel": 8, "pipeline_parallel": 8, "schedule": "zero-bubble", "zero_stage": 2}
    bound = choose_layout(llama_70b, h100, hgx, gpus=256, global_batch=512, context_tokens=8192, fixed=given)
    for profile in (bound.best, *bound.runners_up):
        assert {name: getattr(profile.layout, name) for name in given} == given
    assert bound.best.step_s >= free.best.step_s


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"tensor_parallel": 3}, "tensor_parallel 3 does not divide"),
        ({"schedule": "zerobubble", "pipeline_parallel": 2}, "did you mean 'zero-bubble'"),
        ({"interleave": 200, "pipeline_parallel": 2}, "chunks for 80 layers"),
    ],
)
def test_what_is_given_and_impossible_is_told(llama_70b, h100, hgx, given, text):
    with pytest.raises(LayoutError, match=text):
        choose_layout(llama_70b, h100, hgx, gpus=384, global_batch=768, context_tokens=8192, fixed=given)


def test_recomputation_is_taken_only_where_less_does_not_fit(llama_70b, h100, hgx):
    choice = choose_layout(llama_70b, h100, hgx, gpus=64, global_batch=128, context_tokens=8192)
    for profile in (choice.best, *choice.runners_up):
        kinds = ["none", "selective", "full"]
        for less in kinds[: kinds.index(profile.layout.recompute)]:
            sparing = {"recompute": less}
            layout = Layout(**{**{f: getattr(profile.layout, f) for f in Layout.__slots__}, **sparing})
            assert training_memory(llama_70b, layout).total_bytes > h100.memory_bytes


def test_the_nearest_layout_that_fits_is_one_change_away(llama_70b, h100, hgx):
    big = Layout(8, 1, 4, global_batch=64, context_tokens=8192)
    near = nearest_fit(llama_70b, big, h100, hgx)
    assert near is not None
    assert near.memory.total_bytes <= h100.memory_bytes
    assert near.layout.gpus == big.gpus
    changed = [f for f in Layout.__slots__ if getattr(near.layout, f) != getattr(big, f)]
    assert len(changed) == 1
    assert near.step_s >= estimate(llama_70b, big, h100, hgx, check_memory=False).step_s


def test_what_no_change_can_hold_has_no_nearest_layout(llama_70b, h100, hgx):
    assert nearest_fit(llama_70b, Layout(8, global_batch=8, context_tokens=8192), h100, hgx) is None


def test_long_sequences_are_cut_and_experts_are_dealt():
    catalog = Catalog.shipped()
    hgx = catalog.node("hgx-h100-8")
    model = Architecture.from_spec(catalog.model("llama-3.1-405b"))
    long = choose_layout(
        model, catalog.gpu("h100-sxm"), hgx, gpus=16384, global_batch=128, context_tokens=131072
    )
    assert long.best.layout.context_parallel > 1
    model = Architecture.from_spec(catalog.model("deepseek-v3"))
    dealt = choose_layout(
        model, catalog.gpu("h100-sxm"), hgx, gpus=2048, global_batch=15360, context_tokens=4096
    )
    assert dealt.best.layout.expert_parallel > 1
