"""The scenario of one service at one site that drills of services share."""

from __future__ import annotations

from textwrap import dedent, indent

_HEAD = """
title: One service
start: 2024-01-01 00:00 UTC
duration: {duration}
sites:
  - name: here
    grid: {{intensity: 100 g/kWh, price: 50 USD/MWh}}
    cooling: {{plant: none}}
    network_power: 0 W
    pools: [{{name: p, node: hgx-h100-8, nodes: {nodes}}}]
scheduling: {{policy: fcfs, placement: lowest-numbered}}
workloads:
  - kind: service
    name: chat
"""


def one_service(service: str, *, duration: str, nodes: int = 1) -> str:
    """Return a scenario whose service, named chat, has these keys; nodes have eight H100."""
    return _HEAD.format(duration=duration, nodes=nodes) + indent(dedent(service).strip("\n"), "    ") + "\n"
