"""Lemons: they break oftener in the given ratio, the pool as often as before, a sound one stays sound."""

from __future__ import annotations

import pytest

HOUSE = """
title: A pool with lemons
start: 2024-01-01 00:00 UTC
duration: 400 d
sites:
  - name: here
    grid: {intensity: 100 g/kWh, price: 50 USD/MWh}
    cooling: {plant: none}
    pools: [{name: p, node: hgx-h100-8, nodes: 200}]
"""
LEMONS = "failures: {preset: rsc1-2024-jobs, rate_scale: 4, lemons: {share: 2 %, rate_scale: 50}}"


def strikes(engine_of, more: str, after=None):
    """Draw 400 days of failures of 200 nodes; return (nodes of scope node, count of scope job)."""
    engine = engine_of("id: a, gpus: 1, run: 1 s", house=HOUSE, more=more)
    hit: list[int] = []
    others: list[int] = []
    engine.failures.strike = lambda pool, node, cause, repair_s, gpu=0: (
        hit if cause.scope == "node" else others
    ).append(node)
    if after is not None:
        engine.failures.begin()
        after(engine)
        engine.failures.begin = lambda: None
    engine.run()
    return engine, hit, others


def test_lemons_break_oftener_and_the_pool_as_often_as_published(engine_of):
    """200 nodes x 400 d x 4: 6.5 of 1,000 node-days are 2,080 node failures; 17.23 are 5,514 of jobs.

    Four lemons at 50 times the rate take 200 of 396 parts of the node failures, 50.5 %. Bounds: four
    standard deviations of Poisson and binomial counts.
    """
    engine, hit, others = strikes(engine_of, LEMONS)
    lemons = set(engine.failures.draws[0].lemons)
    assert len(lemons) == 4
    assert abs(len(hit) - 2080) < 4 * 2080**0.5
    assert abs(len(others) - 5514) < 4 * 5514**0.5
    share = sum(node in lemons for node in hit) / len(hit)
    assert abs(share - 200 / 396) < 4 * (0.25 / len(hit)) ** 0.5
    # What stops only jobs comes from lemons no oftener: 2 %.
    assert sum(node in lemons for node in others) / len(others) == pytest.approx(0.02, abs=0.008)


def test_a_lemon_that_was_replaced_leaves_its_extra_failures_behind(engine_of):
    """All four replaced: the pool keeps 200 of 396 parts, 1,050 of 2,080, evenly spread."""

    def replace_all(engine):
        draws = engine.failures.draws[0]
        for node in [node for node in draws.lemons if node is not None]:
            draws.replaced(node)

    _, hit, _ = strikes(engine_of, LEMONS, after=replace_all)
    mean = 2080 * 200 / 396
    assert abs(len(hit) - mean) < 4 * mean**0.5


def test_the_same_seed_breaks_the_same_without_lemons(engine_of):
    plain = LEMONS.replace(", lemons: {share: 2 %, rate_scale: 50}", "")
    assert strikes(engine_of, plain)[1] == strikes(engine_of, plain)[1]
