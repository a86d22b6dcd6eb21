"""100,000 GPUs: what checkpoints of 10 s and of 300 s leave of the time, at three published failure rates.

Run ``python -m analysis.studies.frontier [--seeds 5]``. Scenario ``training/frontier-100k`` at
Young's interval, ten minutes from a failure to the first new step. Beside the simulated mean: the
first-order law (Kokolis et al.), which at this size is off by points or falls to nothing, and the
renewal law. Last: replicas that go on by themselves, beside the 44 % and 80 % of Salpekar et al.
(arXiv:2602.00277), who do not say how often their fleet fails.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Final

from analysis.studies.many_runs import interval, over_seeds
from simulator.hardware import expected_ettr_fraction, first_order_loss_fraction
from simulator.results.training_facts import expected_ettr

SCENARIO: Final = "training/frontier-100k"
PRESETS: Final = ("llama3-2024", "rsc1-2024", "rsc2-2024")
STOPS_S: Final = (10.0, 300.0)
REPLICAS: Final = "workloads.0.elastic={minimum_gpus: 90000, restore: peers, stall: 3 min}"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 1")
    seeds = range(1, parser.parse_args().seeds + 1)
    print(f"{SCENARIO}, seeds 1 to {len(seeds)}, 30 days; effective training time in %")
    heads = (
        "preset",
        "checkpoint",
        "M, min",
        "Young, min",
        "simulated (95 %)",
        "renewal",
        "first order",
        "lost",
    )
    print("".join(f"{head:>{width}}" for head, width in zip(heads, _WIDTHS, strict=True)))
    cpu_s = []
    for preset in PRESETS:
        for stop_s in STOPS_S:
            runs = over_seeds(
                SCENARIO,
                seeds,
                [
                    f"failures.preset={preset}",
                    f"workloads.0.checkpoint={{policy: young, mode: sync, stall: {stop_s} s}}",
                ],
            )
            cpu_s += [run.cpu_s for run in runs]
            law = runs[0].law
            assert law is not None
            both = {
                "mean_time_between_failures_s": law.mean_time_s,
                "interval_s": law.interval_s,
                "save_s": law.save_s,
            }
            first = expected_ettr_fraction(**both, restart_s=law.restart_s)
            exact = expected_ettr(law)
            loss = first_order_loss_fraction(
                mean_time_between_failures_s=law.mean_time_s,
                interval_s=law.interval_s,
                restart_s=law.restart_s,
            )
            cells = (
                preset,
                f"{stop_s:g} s",
                f"{law.mean_time_s / 60:.1f}",
                f"{law.interval_s / 60:.1f}",
                interval([run.ettr_fraction for run in runs]).text(1, 100.0),
                f"{100 * exact:.1f}",
                f"{100 * first:.1f}",
                f"{100 * loss:.0f} % of M",
            )
            print("".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)))
    print("\nWhole-job restarts of 10 min, and replicas that go on after a stall of 3 min")
    print("(published: 44 % and 80 % on O(100K) GPUs, failure rate not given)")
    for preset in PRESETS:
        said = []
        for more in ([], [REPLICAS]):
            runs = over_seeds(SCENARIO, seeds, [f"failures.preset={preset}", *more])
            cpu_s += [run.cpu_s for run in runs]
            said.append(interval([run.ettr_fraction for run in runs]).text(1, 100.0))
        print(f"{preset:>14}   restart {said[0]}   replicas {said[1]}")
    print(f"CPU time of one run: median {statistics.median(cpu_s):.2f} s")


_WIDTHS: Final = (14, 12, 9, 12, 22, 10, 13, 12)

if __name__ == "__main__":
    main()
