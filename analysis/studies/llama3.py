"""54 days of Llama 3 405B under many seeds, beside what its owner published.

Run ``python -m analysis.studies.llama3 [--seeds 20]``: interruptions and effective training time
with 95 % intervals. Nothing in the scenario says how often the run stopped or how much time was
lost; rates of causes are the published counts over the published GPU-hours, so the counts must
come back and the effective time is the test.
"""

from __future__ import annotations

import argparse
import statistics

from analysis.studies.many_runs import interval, over_seeds
from simulator.results.training_facts import expected_ettr

SCENARIO = "training/llama3-405b"

#: Grattafiori et al., "The Llama 3 Herd of Models", 2024, section 3.3.4 and table 5.
PUBLISHED_UNPLANNED, PUBLISHED_PLANNED, PUBLISHED_EFFECTIVE = 419, 47, 0.90


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=20, help="number of seeds, from 1")
    seeds = parser.parse_args().seeds
    runs = over_seeds(SCENARIO, range(1, seeds + 1))
    unplanned = interval([run.unplanned for run in runs])
    planned = interval([run.planned for run in runs])
    effective = interval([run.ettr_fraction for run in runs])
    counts = [run.unplanned for run in runs]
    print(f"{SCENARIO}, seeds 1 to {seeds}: mean (95 % interval of the mean), then the single seeds")
    print(f"{'':28}{'simulated':>30}{'one seed, min to max':>24}{'published':>12}")
    print(
        f"{'unexpected interruptions':28}{unplanned.text():>30}"
        f"{f'{min(counts)} to {max(counts)}':>24}{PUBLISHED_UNPLANNED:>12}"
    )
    plans = [run.planned for run in runs]
    print(
        f"{'planned interruptions':28}{planned.text():>30}"
        f"{f'{min(plans)} to {max(plans)}':>24}{PUBLISHED_PLANNED:>12}"
    )
    each = [100 * run.ettr_fraction for run in runs]
    print(
        f"{'effective training time, %':28}{effective.text(2, 100.0):>30}"
        f"{f'{min(each):.2f} to {max(each):.2f}':>24}{'> 90':>12}"
    )
    law = runs[0].law
    if law is not None:
        expected = expected_ettr(law)
        print(f"{'by the renewal law, %':28}{100 * expected:>30.2f}")
    above = sum(run.ettr_fraction > PUBLISHED_EFFECTIVE for run in runs)
    verdict = "MET" if effective.low > PUBLISHED_EFFECTIVE else "NOT MET by the interval"
    print(f"above 90 % in {above} of {seeds} seeds; published bound {verdict}")
    uses = sorted({name for run in runs for name in run.use_fraction})
    shares = {name: statistics.fmean(run.use_fraction.get(name, 0.0) for run in runs) for name in uses}
    listed = sorted(shares.items(), key=lambda item: -item[1])
    print("GPU time: " + ", ".join(f"{name} {100 * share:.2f} %" for name, share in listed))
    print(f"CPU time of one run: median {statistics.median(run.cpu_s for run in runs):.2f} s")


if __name__ == "__main__":
    main()
