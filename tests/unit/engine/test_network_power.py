"""Watts of switches: ports counted by hand, tier by tier."""

from __future__ import annotations

import pytest

from simulator.engine.build_sites import network_power_w
from simulator.scenario import load_text


def network_w(pools, fabric="{type: fat-tree, nodes_per_leaf: 2}"):
    text = f"""
title: Ports
start: 2024-03-04 00:00 UTC
duration: 1 d
sites:
  - name: here
    grid: {{intensity: 400 g/kWh, price: 50 USD/MWh}}
    cooling: {{plant: constant-pue, pue: 1.1}}
    fabric: {fabric}
    pools: {pools}
workloads:
  - {{name: w, kind: list, jobs: [{{id: a, submit: 0 s, gpus: 1, run: 1 h}}]}}
"""
    scenario = load_text(text)
    return network_power_w(scenario, scenario.sites[0])


def h100(nodes):
    return f"[{{name: p, node: hgx-h100-8, nodes: {nodes}}}]"


def test_one_leaf_has_one_port_a_gpu():
    assert network_w(h100(2)) == pytest.approx(16 * 20.0)


def test_a_level_above_adds_a_port_up_and_one_down():
    assert network_w(h100(4)) == pytest.approx(32 * 3 * 20.0)


def test_between_pods_a_third_level_is_oversubscribed_and_the_second_is_not():
    fabric = '{type: fat-tree, nodes_per_leaf: 2, leaves_per_pod: 2, oversubscription: "1:7"}'
    assert network_w(h100(8), fabric) == pytest.approx(64 * (1 + 2 + 2 / 7) * 20.0)
    # One pod: its own leaves are what is oversubscribed.
    assert network_w(h100(4), fabric) == pytest.approx(32 * (1 + 2 / 7) * 20.0)


def test_pools_of_a_site_share_its_switches():
    two = "[{name: p, node: hgx-h100-8, nodes: 1}, {name: q, node: hgx-h100-8, nodes: 3}]"
    assert network_w(two) == pytest.approx(network_w(h100(4)))


def test_gpus_that_share_a_port_share_its_watts():
    """Four 100 Gb/s ports for eight V100: half a port of 9 W each."""
    assert network_w("[{name: p, node: hgx-v100-8, nodes: 2}]") == pytest.approx(16 * 4.5)


def test_a_processor_core_s_share_of_a_port_is_less_than_the_core():
    cores = network_w("[{name: p, node: cpu-slot, nodes: 256}]", "{type: fat-tree, nodes_per_leaf: 16}")
    assert cores / 256 == pytest.approx(3 * 9.0 * 3 / 100)


def test_the_site_s_own_links_count():
    fabric = "{type: fat-tree, nodes_per_leaf: 2, link: 200 Gb/s}"
    assert network_w(h100(2), fabric) == pytest.approx(16 * 12.0)
