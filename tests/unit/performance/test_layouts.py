"""Choosing a layout: it fits, it is the fastest, and it says why."""

from __future__ import annotations

import pytest

from simulator.foundation.errors import LayoutError
from simulator.performance.layouts import choose_layout


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
    assert all("slower" in line for line in others)


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
    with pytest.raises(LayoutError, match=r"does not fit 8 GPUs of 75 GiB .*nearest, tp8"):
        choose_layout(llama_70b, h100, hgx, gpus=8, global_batch=8, context_tokens=8192)


def test_a_batch_smaller_than_any_replica_count_is_refused(llama_8b, h100, hgx):
    with pytest.raises(LayoutError, match="no layout gives 1 sequences"):
        choose_layout(llama_8b, h100, hgx, gpus=7 * 512, global_batch=1, context_tokens=2048)
