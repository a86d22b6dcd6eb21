"""What a service used, on four boundaries, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.accounting import BookRules, account
from simulator.accounting.service_account import BOUNDARIES, accounts_of
from simulator.foundation.units import HOUR_S

HORIZON_S = 4 * HOUR_S


@pytest.fixture
def two(record, segment):
    """Two jobs on two of four nodes: 8 GPUs all the time, and 8 for the first half."""
    return record(
        [
            segment(0, 0.0, HORIZON_S, power_w=5000.0, gpu_power_w=4000.0),
            segment(1, 0.0, HORIZON_S / 2, power_w=3000.0, gpu_power_w=2500.0),
        ]
    )


def test_each_boundary_holds_the_one_before(two, site_books):
    """Idle: 32 GPUs less those held make 16 and then 24 of 110 W; the first job held 2/3 of it all.

    The meter is 1.25 x (nodes + 1,000 W of network), shared over nodes by IT energy within each
    hour; both jobs together, with all that was idle, are the meter.
    """
    books = account(two, {"here": site_books()}, BookRules())
    first, second = accounts_of(two, books, [[0], [1]])
    idle_j = (16 + 24) * 110.0 * HORIZON_S / 2
    assert first.energy_j["chip"] == pytest.approx(4000.0 * HORIZON_S)
    assert first.energy_j["server"] == pytest.approx(5000.0 * HORIZON_S)
    assert first.energy_j["idle"] == pytest.approx(5000.0 * HORIZON_S + idle_j * 2 / 3)
    assert second.energy_j["idle"] == pytest.approx(3000.0 * HORIZON_S / 2 + idle_j / 3)
    meter_j = books.totals["facility_energy_mwh"] * 3.6e9
    assert first.energy_j["facility"] + second.energy_j["facility"] == pytest.approx(meter_j, rel=1e-12)
    for found in (first, second):
        sizes = [found.energy_j[name] for name in BOUNDARIES]
        assert sizes == sorted(sizes)


def test_carbon_water_and_cost_of_everybody_are_the_wholes(two, site_books):
    books = account(two, {"here": site_books()}, BookRules())
    found = accounts_of(two, books, [[0], [1]])
    assert sum(part.gco2e for part in found) == pytest.approx(books.totals["location_tco2e"] * 1e6, rel=1e-12)
    assert sum(part.usd for part in found) == pytest.approx(sum(books.cost_usd.values()), rel=1e-12)
    # A plant given as a PUE says nothing of water.
    assert all(np.isnan(part.site_litres) for part in found)


def test_a_group_that_held_nothing_used_nothing(two, site_books):
    books = account(two, {"here": site_books()}, BookRules())
    (nobody,) = accounts_of(two, books, [[]])
    assert nobody.energy_j == dict.fromkeys(BOUNDARIES, 0.0)
    assert accounts_of(two, books, []) == []
