from __future__ import annotations

import numpy as np
import pytest

from simulator.catalog.entries import ChainSpec, ChainStage
from simulator.facility.chain import PowerChain, Stage


def test_a_stage_adds_fixed_proportional_and_quadratic_loss():
    stage = Stage("ups", fixed_w=10.0, linear_fraction=0.02, quadratic_per_w=1e-4)
    assert stage.input_w(1000.0) == pytest.approx(1000 + 10 + 20 + 100)


def test_an_empty_chain_loses_nothing_but_carries_the_network():
    chain = PowerChain()
    assert chain.input_w(5.0, 2.0) == 7.0
    assert chain.loss_w(5.0, 2.0) == 0.0


def test_the_network_joins_behind_the_first_stage_that_carries_it():
    shelf = Stage.from_efficiency("shelf", 0.5, carries_network=False)
    ups = Stage.from_efficiency("ups", 0.5)
    chain = PowerChain((shelf, ups))
    assert chain.input_w(100.0, 30.0) == pytest.approx((100 / 0.5 + 30) / 0.5)


def test_a_catalog_chain_is_sized_stage_by_stage():
    spec = ChainSpec(
        "two",
        "Two stages",
        (
            ChainStage("ups", fixed_fraction=0.01, linear_fraction=0.02, rated_over_peak=2.0),
            ChainStage("transformer", quadratic_fraction=0.005),
        ),
    )
    chain = PowerChain.from_spec(spec, nodes=4, peak_node_w=900.0, network_w=100.0)
    ups_in = 1000 + 0.01 * 2000 + 0.02 * 1000
    assert chain.input_w(900.0, 100.0) == pytest.approx(ups_in + 0.005 * ups_in**2 / ups_in)
    assert chain.input_w(0.0, 100.0) == pytest.approx(122.0 + 0.005 * 122.0**2 / ups_in)


def test_a_loss_per_node_counts_every_node():
    spec = ChainSpec("dc", "DC", (ChainStage("shelf", fixed_w_per_node=17.0),))
    assert PowerChain.from_spec(spec, nodes=10, peak_node_w=1.0).loss_w(0.0) == pytest.approx(170.0)


def test_the_loss_is_what_goes_in_less_what_comes_out_over_an_array():
    chain = PowerChain((Stage("ups", 5.0, 0.03, 1e-6),))
    load_w = np.array([0.0, 10.0, 1e4])
    assert chain.loss_w(load_w) == pytest.approx(chain.input_w(load_w) - load_w)


@pytest.mark.parametrize("wrong", [{"fixed_w": -1.0}, {"linear_fraction": -0.1}, {"quadratic_per_w": -1e-9}])
def test_a_stage_that_would_make_energy_is_refused(wrong):
    with pytest.raises(ValueError, match="never negative"):
        Stage("perpetual", **wrong)


def test_an_efficiency_above_one_is_refused():
    with pytest.raises(ValueError, match="at most 1"):
        Stage.from_efficiency("perpetual", 1.01)
