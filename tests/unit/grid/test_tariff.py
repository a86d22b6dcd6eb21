from __future__ import annotations

import numpy as np
import pytest

from simulator.catalog.entries import TariffSpec
from simulator.foundation.errors import CatalogError
from simulator.foundation.step_series import StepSeries
from simulator.grid.tariff import Tariff


def test_a_flat_price_replaces_the_grids_and_the_adder_joins():
    grid = StepSeries([0.0, 5.0], [0.1, -0.2], 10.0)
    assert Tariff(adder_usd_per_kwh=0.03).price(grid, 10.0).value == pytest.approx([0.13, -0.17])
    assert Tariff(0.08, 0.01).price(grid, 10.0).value == pytest.approx([0.09])
    assert Tariff(0.08).price(None, 10.0).end_s == 10.0
    assert Tariff().price(None, 10.0) is None


def test_the_demand_charge_is_prorated_and_has_a_floor():
    """AEP's transmission demand rider, about 7.45 USD/kW-month: 500 MW is 3.725 M a month."""
    tariff = Tariff(demand_charge_usd_per_kw_month=7.45, minimum_demand_w=300e6)
    charge = tariff.demand_charge_usd(np.array([500e6, 100e6]), np.array([1.0, 0.5]))
    assert charge == pytest.approx([3.725e6, 7.45 * 300e3 / 2])


def test_a_ratchet_needs_the_contracted_power():
    spec = TariffSpec("t", "T", None, 0.01, 7.45, 0.85, 2024)
    assert Tariff.from_spec(spec, 100e6).minimum_demand_w == pytest.approx(85e6)
    with pytest.raises(CatalogError, match="bills at least 85% of the contracted power"):
        Tariff.from_spec(spec)
