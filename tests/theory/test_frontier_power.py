"""Frontier's idle and peak power from its published conversion chain, against RAPS."""

from __future__ import annotations

import pytest

from simulator.facility.chain import Stage

# Frontier as configured in ExaDigiT/RAPS (config/frontier.yaml): 74 racks (one of 75 is missing) of
# 8 chassis of 16 nodes; 4 rectifiers and 4 switches a chassis; 25 coolant distribution units.
CHASSIS = 74 * 8
NODES = CHASSIS * 16
SWITCHES_W = CHASSIS * 4 * 250.0
COOLANT_UNITS_W = 25 * 8473.47
#: Memory, four network cards and two drives.
REST_OF_NODE_W = 74.26 + 4 * 20.0 + 30.0
DC_DC = Stage.from_efficiency("SIVOC", 0.98, constant_w=13.0, modules=NODES)
RECTIFIER = Stage.from_efficiency("rectifier", 0.96, constant_w=17.0, modules=CHASSIS * 4)


def frontier_w(cpu_w: float, gpu_w: float) -> float:
    nodes_w = NODES * (cpu_w + 4 * gpu_w + REST_OF_NODE_W)
    return float(RECTIFIER.input_w(DC_DC.input_w(nodes_w) + SWITCHES_W)) + COOLANT_UNITS_W


def test_idle_power_is_7_3065_mw():
    """RAPS prints 7.3065 MW for CPU 90 W and GPU 88 W."""
    assert frontier_w(90.0, 88.0) == pytest.approx(7.3065e6, rel=1e-4)


def test_peak_power_is_28_2279_mw():
    """RAPS prints 28.2279 MW for CPU 280 W and GPU 560 W."""
    assert frontier_w(280.0, 560.0) == pytest.approx(28.2279e6, rel=1e-4)


def test_idle_efficiency_is_the_published_one():
    """Losses of 0.5717 MW as RAPS prints them count a missing rack's switches: 0.9 kW too many."""
    idle_w = frontier_w(90.0, 88.0)
    useful_w = NODES * (90.0 + 4 * 88.0 + REST_OF_NODE_W) + SWITCHES_W + COOLANT_UNITS_W
    assert idle_w - useful_w == pytest.approx(0.5708e6, rel=1e-3)
    assert useful_w / idle_w == pytest.approx(0.9218, abs=2e-4)
