"""Lengths are whole tokens under their caps; their stated means are those of what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.catalog.entries import LengthsSpec
from simulator.foundation.errors import CatalogError
from simulator.workload.lengths import LoggedLengths, LognormalLengths

SPEC = {
    "name": "chat",
    "title": "Chat",
    "prompt_median_tokens": 700.0,
    "prompt_sigma": 0.9,
    "output_median_tokens": 300.0,
    "output_sigma": 0.8,
    "correlation": 0.3,
    "prompt_cap_tokens": 8192,
    "output_cap_tokens": 4096,
}


def spec(**change: object) -> LengthsSpec:
    return LengthsSpec(**(SPEC | change))


def test_lengths_are_whole_tokens_from_one_to_the_cap():
    low = spec(prompt_median_tokens=1.5, prompt_sigma=2.0, prompt_cap_tokens=50)
    prompt, output = LognormalLengths(low).stream(np.random.default_rng(1)).next_block(50_000)
    assert prompt.dtype == output.dtype == np.int64
    assert (prompt.min(), prompt.max()) == (1, 50)
    assert output.max() <= 4096


def test_nothing_piles_up_at_a_cap():
    tight = spec(prompt_cap_tokens=1000)
    prompt, _ = LognormalLengths(tight).stream(np.random.default_rng(2)).next_block(100_000)
    at_cap, below = np.count_nonzero(prompt == 1000), np.count_nonzero((prompt >= 990) & (prompt < 1000)) / 10
    assert at_cap < 2 * below


def test_a_spread_of_zero_gives_the_median_itself():
    fixed = LognormalLengths(spec(prompt_sigma=0.0, output_sigma=0.0))
    prompt, output = fixed.stream(np.random.default_rng(3)).next_block(10)
    assert set(prompt.tolist()) == {700}
    assert set(output.tolist()) == {300}
    assert (fixed.mean_prompt_tokens, fixed.mean_output_tokens) == (700.0, 300.0)


def test_means_can_be_given_instead():
    lengths = LognormalLengths.from_means(700, 1400, prompt_median_tokens=300, output_median_tokens=1399)
    assert lengths.mean_prompt_tokens == pytest.approx(700, rel=1e-4)
    assert lengths.mean_output_tokens == pytest.approx(1400, rel=1e-4)
    fixed = LognormalLengths.from_means(700, 1400)
    assert (fixed.mean_prompt_tokens, fixed.mean_output_tokens) == (700.0, 1400.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompt_mean_tokens": 700.5}, r"prompt_mean 700\.5; expected a whole number, or a median"),
        ({"prompt_median_tokens": 800.0}, r"prompt_median 800; expected at least 1 and at most the mean 700"),
    ],
)
def test_means_that_no_law_has_are_refused(given, message):
    with pytest.raises(CatalogError, match=message):
        LognormalLengths.from_means(**({"prompt_mean_tokens": 700.0, "output_mean_tokens": 10.0} | given))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt_median_tokens": 0.5}, "prompt_median 0.5; expected 1 token or more"),
        ({"output_median_tokens": float("nan")}, "output_median nan"),
        ({"output_sigma": -0.1}, "output_sigma -0.1; expected 0 to 5"),
        ({"prompt_cap_tokens": 500}, "prompt_cap 500 is below its median 700"),
        ({"correlation": 1.0}, "correlation 1; expected between -1 and 1"),
    ],
)
def test_impossible_laws_are_refused(change, message):
    with pytest.raises(CatalogError, match=message):
        LognormalLengths(spec(**change))


def test_pairs_of_a_log_stay_together_in_blocks_of_any_size():
    logged = LoggedLengths(np.array([10, 20, 30]), np.array([1, 2, 3]))
    assert (logged.mean_prompt_tokens, logged.mean_output_tokens) == (20.0, 2.0)
    prompt, output = logged.stream(np.random.default_rng(1)).next_block(3000)
    assert np.array_equal(prompt, 10 * output)
    assert set(output.tolist()) == {1, 2, 3}
    stream = logged.stream(np.random.default_rng(1))
    again = np.concatenate([stream.next_block(n)[0] for n in (1, 0, 999, 2000)])
    assert np.array_equal(again, prompt)


def test_a_log_without_lengths_is_refused():
    with pytest.raises(CatalogError, match="expected as many of both"):
        LoggedLengths(np.array([1]), np.array([], dtype=np.int64))
