"""A small scenario that is right, for tests that make it wrong."""

from __future__ import annotations

import pytest

SMALL = """\
title: Small
start: 2024-03-04 00:00 Europe/Berlin
duration: 2 d
sites:
  - name: campus
    climate: frankfurt-typical
    grid: DE
    tariff: de-industrial-2024
    interconnection: {limit: 200 kW}
    cooling: {plant: dry-cooler-adiabatic, supply_temperature: 30 C}
    power_chain: ups-eco
    fabric: {type: fat-tree, link: 400 Gb/s, oversubscription: "1:2"}
    pools:
      - {name: h100, node: hgx-h100-8, nodes: 8}
    storage: {write_bandwidth: 20 GB/s}
scheduling: {policy: easy, placement: consolidate}
workloads:
  - kind: training
    name: pretrain
    model: llama-3.1-8b
    tokens: 50 B
    gpus: 32
    checkpoint: {every: 30 min, mode: async}
    submit: 2024-03-04 06:00
  - kind: service
    name: chat
    model: llama-3.3-70b
    engine: {preset: vllm-v1, precision: fp8}
    tensor_parallel: 4
    replicas: {min: 2, max: 4, autoscale: queue}
    demand: {requests: 2_000 per day, shape: office-hours}
    lengths: reasoning-2025
    tiers:
      - {name: premium, share: 10 %, ttft_slo: 1 s}
      - {name: standard, share: 90 %, ttft_slo: 5 s}
  - kind: jobs
    name: research
    mix: helios-like
    largest: 16
    tenants: {vision: 40 %, speech: 60 %}
    load: 8 GPUs on average
script:
  - {at: 2024-03-04 12:00, kind: node-fault, node: h100.3, lasts: 2 h}
  - {at: 20 h, kind: set-power, target: campus.h100, clock: 80 %}
limits:
  - {p95_wait: 4 h, tenant: vision}
"""


@pytest.fixture
def small() -> str:
    """Text of a scenario without mistakes."""
    return SMALL
