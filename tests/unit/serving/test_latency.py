from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from simulator.serving import latency
from simulator.serving.latency import Distribution, Histogram, percentile

positive = arrays(np.float64, st.integers(1, 60), elements=st.floats(1e-4, 1e4))


@given(positive, st.floats(0.0, 1.0))
def test_equal_weights_are_no_weights(values, fraction):
    assert percentile(values, np.full(len(values), 3.0), fraction) == percentile(values, None, fraction)


@given(positive, st.integers(0, 10**6))
def test_a_weight_of_two_is_the_value_twice(values, seed):
    weights = np.random.default_rng(seed).integers(1, 4, len(values)).astype(float)
    weights[0] = 5.0
    if np.ptp(weights) == 0.0:
        return
    repeated = np.sort(np.repeat(values, weights.astype(int)))
    for fraction in (0.1, 0.5, 0.99):
        # The first value whose cumulated weight reaches the share.
        expected = repeated[max(0, math.ceil(fraction * len(repeated) - 1e-9) - 1)]
        assert percentile(values, weights, fraction) == expected


def test_nothing_has_no_percentile():
    assert math.isnan(percentile(np.empty(0), None, 0.5))
    assert math.isnan(Distribution().percentile(0.99))
    assert math.isnan(Distribution().mean)


def test_folding_keeps_percentiles_within_an_eighth_of_a_percent(monkeypatch):
    monkeypatch.setattr(latency, "EXACT_VALUES", 1000)
    rng = np.random.default_rng(1)
    blocks = [rng.lognormal(0.0, 1.5, 700) for _ in range(5)]
    found = Distribution()
    for block in blocks:
        found.add(block)
    assert not found.exact
    whole = np.concatenate(blocks)
    assert found.mean == pytest.approx(whole.mean())
    for fraction in (0.01, 0.5, 0.9, 0.99):
        nearest = np.quantile(whole, fraction, method="inverted_cdf")
        assert found.percentile(fraction) == pytest.approx(nearest, rel=0.0025)


def test_merging_two_is_adding_all(monkeypatch):
    rng = np.random.default_rng(2)
    one, two, both = Distribution(), Distribution(), Distribution()
    values = rng.lognormal(0.0, 1.0, 900)
    one.add(values[:400])
    two.add(values[400:])
    both.merge(one)
    both.merge(two)
    assert both.percentile(0.9) == np.quantile(values, 0.9)
    monkeypatch.setattr(latency, "EXACT_VALUES", 500)
    folded = Distribution()
    folded.merge(one)
    folded.merge(two)
    assert not folded.exact
    assert folded.percentile(0.9) == pytest.approx(np.quantile(values, 0.9), rel=0.01)


def test_the_histogram_has_24_bins_a_decade_and_loses_nothing():
    found = Histogram()
    found.add("gold", "ttft", np.array([0.1, 0.1, 1.05, 250.0]))
    found.add("gold", "ttft", np.array([0.1]))
    columns = found.columns("chat", 8.0)
    assert columns["requests"].tolist() == [24.0, 8.0, 8.0]
    assert columns["high_s"] / columns["low_s"] == pytest.approx(10.0 ** (1.0 / 24.0))
    for value, low_s, high_s in zip((0.1, 1.05, 250.0), columns["low_s"], columns["high_s"], strict=True):
        assert low_s <= value * (1.0 + 1e-12)
        assert value < high_s
