"""Lemon nodes: how often large jobs fail with them, and once nodes that break too often leave.

Run ``python -m analysis.studies.lemons [--seeds 5]``. Half a year of 512-GPU jobs of 8 h each, sixteen a day,
on 2,000 nodes at RSC-1's infrastructure rate; two in a hundred nodes break a hundred times as
often, the fleet's mean stays as published. Kokolis et al. (arXiv:2410.21680) saw the failures of
jobs of 512 GPUs and more fall from 14 % to 4 % when lemons were taken out. How lemon-like their
lemons were is not said, so share and rate here are assumptions and only the direction is a test.
"""

from __future__ import annotations

import argparse
from typing import Final

from analysis.studies.many_runs import interval
from simulator.engine import simulate
from simulator.scenario.reading import load_text
from simulator.telemetry import MemorySink

_DAYS: Final = 182
_SIDE_BY_SIDE: Final = 16

_HOUSE: Final = """
title: Large jobs and lemons
start: 2024-01-01 00:00 UTC
duration: {days} d
sites:
  - name: here
    grid: {{intensity: 400 g/kWh, price: 60 USD/MWh}}
    cooling: {{plant: none}}
    pools: [{{name: a100, node: hgx-a100-8, nodes: 2_000}}]
scheduling: {{policy: fcfs}}
failures: {{preset: rsc1-2024{more}}}
workloads:
  - kind: list
    name: large
    jobs:
{jobs}
"""

CASES: Final = {
    "no lemons": "",
    "lemons": ", lemons: {share: 2 %, rate_scale: 100}",
    "lemons, ejected": ", lemons: {share: 2 %, rate_scale: 100}, "
    "ejection: {incidents: 3, within: 28 d, replacement: 7 d}",
}


def failed_fraction(more: str, seed: int) -> float:
    """Return the share of large jobs, the first four weeks left out, that a failure struck."""
    jobs = "\n".join(
        f"      - {{id: j{day}-{lane}, submit: {day} d, gpus: 512, run: 8 h, checkpoint_every: 1 h}}"
        for day in range(_DAYS - 1)
        for lane in range(_SIDE_BY_SIDE)
    )
    text = _HOUSE.format(days=_DAYS, more=more, jobs=jobs)
    record = simulate(load_text(text, [f"seed={seed}"], name="lemons.yaml"), MemorySink())
    late = record.jobs.submitted_s >= 28 * 86400.0
    return float((record.jobs.restarts[late] > 0).mean())


def main() -> None:
    """Print the three cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 1")
    seeds = range(1, parser.parse_args().seeds + 1)
    print(f"512-GPU jobs of 8 h that a failure struck, seeds 1 to {len(seeds)}: % (95 % interval)")
    for name, more in CASES.items():
        found = interval([failed_fraction(more, seed) for seed in seeds])
        print(f"{name:>18}  {found.text(1, 100.0)}")


if __name__ == "__main__":
    main()
