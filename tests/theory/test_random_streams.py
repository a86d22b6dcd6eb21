"""Streams have the distributions they name, and know nothing of each other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.foundation import Streams

DRAWS = 40_000


@pytest.mark.parametrize(
    ("draw", "mean", "deviation"),
    [
        (lambda block: block.exponential(2.5), 2.5, 2.5),
        (lambda block: block.uniform(), 0.5, 1 / math.sqrt(12)),
        (lambda block: block.normal(), 0.0, 1.0),
        (lambda block: float(block.below(7)), 3.0, 2.0),
    ],
    ids=["exponential", "uniform", "normal", "below"],
)
def test_single_numbers_have_the_mean_and_spread_of_their_law(draw, mean, deviation):
    """40,000 draws; 4 standard errors of the mean, so one false alarm in 16,000 for each law.

    The sample's standard deviation may be 3 % off: more than 4 of its standard errors for the
    exponential law, whose fourth moment makes it the loosest (sqrt(8 / (4 n)) = 0.7 %).
    """
    block = Streams(20240304).block("theory")
    drawn = np.array([draw(block) for _ in range(DRAWS)])
    assert abs(drawn.mean() - mean) < 4 * deviation / math.sqrt(DRAWS)
    assert drawn.std() == pytest.approx(deviation, rel=0.03)


def test_exponential_numbers_exceed_three_means_as_often_as_they_should():
    """A clipped tail is the classic quiet error: P(X > 3 means) = exp(-3).

    40,000 draws, 4 standard errors of a proportion: one false alarm in 16,000.
    """
    block = Streams(1).block("tail")
    beyond = np.mean([block.exponential(1.0) > 3.0 for _ in range(DRAWS)])
    expected = math.exp(-3.0)
    assert abs(beyond - expected) < 4 * math.sqrt(expected * (1 - expected) / DRAWS)


def test_kinds_of_numbers_from_one_name_are_uncorrelated():
    """The first numbers of 4,000 entities; 4 deviations of a correlation, one false alarm in 16,000.

    First numbers, because two kinds drawn from one generator fall out of step after a few dozen.
    """
    streams, entities = Streams(1), 4000
    blocks = [streams.block(f"entity {index}") for index in range(entities)]
    drawn = np.array([(block.uniform(), block.exponential(1.0), block.normal()) for block in blocks])
    correlations = np.corrcoef(drawn.T)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 4 / math.sqrt(entities)


@pytest.mark.parametrize(
    ("one", "other"),
    [((1, "node 1"), (1, "node 2")), ((1, "node 1"), (2, "node 1")), ((1, "a"), (1, "a/uniform"))],
)
def test_two_streams_are_uncorrelated(one, other):
    """The correlation of n independent pairs has deviation 1 / sqrt(n); 4 of them, one in 16,000."""
    first, second = (Streams(seed).stream(name).random(DRAWS) for seed, name in (one, other))
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / math.sqrt(DRAWS)
