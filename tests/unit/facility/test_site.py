from __future__ import annotations

import numpy as np
import pytest

from simulator.facility.air_chiller import AirChiller
from simulator.facility.chain import PowerChain, Stage
from simulator.facility.constant_pue import ConstantPue
from simulator.facility.site import SitePhysics


@pytest.fixture
def site() -> SitePhysics:
    chain = PowerChain((Stage("ups", fixed_w=2000.0, linear_fraction=0.03),))
    return SitePhysics(AirChiller().sized_for(1.2e6), chain, network_w=20e3, other_w=5e3)


def test_the_meter_is_the_sum_of_its_components(site):
    draw = site.draw(np.array([0.0, 1e6]), 20.0, 15.0)
    assert draw.conversion_w == pytest.approx([2000 + 0.03 * 20e3, 2000 + 0.03 * 1.02e6])
    assert draw.heat_w == pytest.approx(np.array([20e3, 1.02e6]) + draw.conversion_w)
    assert draw.meter_w == pytest.approx(draw.node_w + 20e3 + draw.conversion_w + draw.cooling_w + 5e3)


def test_the_ceiling_meets_the_limit_in_every_weather(site):
    dry, wet = np.linspace(-15, 42, 200), np.linspace(-16, 27, 200)
    ceiling_w = site.node_ceiling_w(1.0e6, dry, wet)
    meter_w = site.draw(ceiling_w, dry, wet).meter_w
    assert np.all(meter_w <= 1.0e6)
    assert meter_w == pytest.approx(1.0e6, rel=1e-6)
    assert np.all(np.diff(ceiling_w) <= 1e-3)


def test_a_limit_below_the_overhead_leaves_nothing(site):
    assert site.node_ceiling_w(10e3, 20.0, 15.0) == pytest.approx(0.0, abs=1e-3)


def test_a_constant_pue_and_a_chain_would_count_losses_twice():
    chain = PowerChain((Stage("ups", linear_fraction=0.03),))
    with pytest.raises(ValueError, match="power_chain: none"):
        SitePhysics(ConstantPue(pue=1.2), chain)


def test_one_more_watt_costs_at_least_a_watt(site):
    assert site.meter_per_node_watt(8e5, 25.0, 18.0) > 1.03
