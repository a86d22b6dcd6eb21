"""The scaling law against its papers and against plain search; no shared code."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.foundation.errors import ScalingLawError
from simulator.llm.scaling_laws import BESIROGLU, next_halving, range_said

E, A, ALPHA, B, BETA = 1.8172, 482.01, 0.3478, 2085.43, 0.3658
sizes = st.floats(1e8, 1e12)
amounts = st.floats(1e9, 1e13)


def plain_loss(size, tokens):
    return E + A / size**ALPHA + B / tokens**BETA


@given(sizes, amounts)
def test_without_end_of_data_the_law_is_the_published_one(size, tokens):
    assert BESIROGLU.loss(size, tokens) == pytest.approx(plain_loss(size, tokens), rel=1e-12)


def test_seventy_billion_parameters_want_about_twenty_tokens_each():
    """Besiroglu et al.: the refit is consistent with the 20 tokens a parameter of Chinchilla."""
    assert BESIROGLU.optimal_tokens(70e9) / 70e9 == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize("size", [1e8, 8e9, 405e9])
def test_optimal_tokens_are_a_minimum_at_equal_compute(size):
    tokens = BESIROGLU.optimal_tokens(size)
    best = plain_loss(size, tokens)
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert plain_loss(size * factor, tokens / factor) > best
    assert BESIROGLU.optimal_parameters(tokens) == pytest.approx(size, rel=1e-9)


def test_four_epochs_are_almost_as_good_as_fresh_data_and_forty_are_not():
    """Muennighoff et al. 2023: up to 4 epochs hardly matter, past 16 returns fall away."""
    unique = 100e9
    assert BESIROGLU.effective_tokens(4 * unique, unique) == pytest.approx(3.73 * unique, rel=0.01)
    assert BESIROGLU.effective_tokens(40 * unique, unique) < 17 * unique
    assert BESIROGLU.effective_tokens(1e6 * unique, unique) == pytest.approx(
        (1 + 15.387756) * unique, rel=1e-6
    )
    # At R* repetitions a repeated token is worth 1 - 1/e of a fresh one on average.
    repeats = 15.387756
    worth = BESIROGLU.effective_tokens((1 + repeats) * unique, unique) / unique - 1
    assert worth / repeats == pytest.approx(1 - 1 / math.e, rel=1e-9)


@given(sizes, amounts, st.floats(1.01, 10))
def test_more_tokens_never_hurt_and_repeated_ones_help_less(size, tokens, factor):
    unique = tokens / 2
    more, less = BESIROGLU.loss(size, tokens * factor, unique), BESIROGLU.loss(size, tokens, unique)
    assert more <= less
    assert BESIROGLU.loss(size, tokens) <= less


@given(sizes, amounts)
def test_tokens_for_a_loss_give_that_loss(size, tokens):
    for unique in (math.inf, tokens / 3):
        loss = BESIROGLU.loss(size, tokens, unique)
        assert BESIROGLU.tokens_for(size, loss, unique) == pytest.approx(tokens, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.floats(1e9, 1e11))
def test_halving_what_is_left_takes_the_closed_form(size):
    """On the frontier compute grows as the reducible loss to -(alpha + beta) / (alpha beta)."""
    tokens = BESIROGLU.optimal_tokens(size)
    half = next_halving(size, tokens)
    assert half.compute_ratio == pytest.approx(2 ** ((ALPHA + BETA) / (ALPHA * BETA)), rel=1e-4)
    reached = plain_loss(half.parameters, half.tokens)
    assert reached - E == pytest.approx((plain_loss(size, tokens) - E) / 2, rel=1e-9)


def test_the_cheapest_run_is_no_dearer_than_a_grid_of_others():
    loss, unique = 2.2, 60e9
    size, tokens = BESIROGLU.cheapest(loss, unique)
    for step in range(-40, 60):
        other = size * 1.05**step
        try:
            needed = BESIROGLU.tokens_for(other, loss, unique)
        except ScalingLawError:
            continue
        assert other * needed >= size * tokens * (1 - 1e-9)


def test_short_data_makes_the_next_halving_dearer():
    assert next_halving(7e9, 140e9, 140e9).compute_ratio > next_halving(7e9, 140e9).compute_ratio


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: BESIROGLU.tokens_for(1e9, 1.9), "out of reach of 1e\\+09 parameters"),
        (lambda: BESIROGLU.tokens_for(8e9, 2.2, 1e9), "however often"),
        (lambda: BESIROGLU.cheapest(1.5), "not above the floor"),
        (lambda: BESIROGLU.cheapest(1.9, 1e9), "out of reach on 1e\\+09 tokens"),
        (lambda: range_said("m", 5e12, 1e12), "312 times above"),
        (lambda: range_said("m", 1e9, 1e6), "5e\\+03 times below"),
        (lambda: range_said("m", 1e9, 1e11, has_experts=True), "has experts"),
    ],
)
def test_what_the_law_does_not_know_is_refused(call, text):
    with pytest.raises(ScalingLawError, match=text):
        call()


def test_stretching_the_law_is_said():
    assert range_said("m", 7e9, 140e9) == ""
    assert range_said("m", 405e9, 15.6e12) == (
        "25 times more parameters than the runs it was fitted on and 31 times more tokens than the runs "
        "it was fitted on"
    )
