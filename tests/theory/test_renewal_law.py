"""The renewal law of effective training time against failures drawn one by one, without the engine."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.hardware import renewal_ettr_fraction


def simulated(rng, *, mean, every, save, lag, restarts, planned_rate, planned, wrong, rounds):
    """Play failures one after the other on a bare list of checkpoints; return useful over all time."""
    first = restarts[0][0]
    total_rate = 1.0 / mean + planned_rate
    done, clock = 0.0, 0.0
    for _ in range(rounds):
        up = rng.exponential(1.0 / total_rate)
        clock += up
        cycles = math.floor(up / (every + save))
        into = min(up - cycles * (every + save), every)
        announced = rng.random() < planned_rate / total_rate
        if announced:
            done += cycles * every + into
        else:
            cause = int(rng.random() >= first)
            durable = math.floor((up - lag) / (every + save)) if up >= lag else 0
            done += max(durable, 0) * every
            spoilt = wrong * restarts[cause][2]
            if spoilt > 0.0:
                age = up - cycles * (every + save)
                done -= max(0, math.ceil((spoilt - age) / (every + save))) * every
        while True:  # what strikes while it comes back sends it back to the begin
            length = planned if announced else restarts[cause][1]
            strike = rng.exponential(1.0 / total_rate)
            if strike >= length:
                clock += length
                break
            clock += strike
            announced = rng.random() < planned_rate / total_rate
            if not announced:
                cause = int(rng.random() >= first)
    return done / clock


CASES = {
    "rare failures": {"mean": 40_000.0},
    "a third of the time is lost": {"mean": 2_500.0},
    "a lag": {"mean": 4_000.0, "lag": 400.0},
    "announced stops": {"mean": 4_000.0, "planned_rate": 1 / 15_000.0, "planned": 1_200.0},
    "wrong results": {"mean": 20_000.0, "wrong": 1.0},
}


@pytest.mark.parametrize("case", CASES)
def test_the_law_agrees_with_drawn_failures(case):
    """30 runs of 1,000 failures each; four standard errors, one false alarm in 16,000 seeds (fixed)."""
    values = {"mean": 4_000.0, "every": 900.0, "save": 60.0, "lag": 0.0, "planned_rate": 0.0, "planned": 0.0,
              "wrong": 0.0, "restarts": ((0.7, 300.0, 0.0), (0.3, 900.0, 2_500.0))} | CASES[case]  # fmt: skip
    found = [simulated(np.random.default_rng(seed), rounds=1_000, **values) for seed in range(30)]
    law = renewal_ettr_fraction(
        mean_time_between_failures_s=values["mean"],
        interval_s=values["every"],
        save_s=values["save"],
        restarts=[(share, restart) for share, restart, _ in values["restarts"]],
        lag_s=values["lag"],
        undetected_s=values["wrong"] * 0.3 * 2_500.0,
        planned_per_s=values["planned_rate"],
        planned_s=values["planned"],
    )
    error = np.std(found, ddof=1) / math.sqrt(len(found))
    assert abs(np.mean(found) - law) < 4 * error + 0.0005


def test_it_is_dalys_complete_model_without_lag_and_announced_stops():
    """Daly 2006: T = M exp(R/M) (exp((t + d)/M) - 1) for each t of work."""
    mean, every, save, restart = 5_000.0, 800.0, 50.0, 600.0
    wall = mean * math.exp(restart / mean) * (math.exp((every + save) / mean) - 1.0)
    law = renewal_ettr_fraction(
        mean_time_between_failures_s=mean, interval_s=every, save_s=save, restarts=[(1.0, restart)]
    )
    assert law == pytest.approx(every / wall, rel=1e-12)


def test_without_failures_only_the_stops_cost():
    law = renewal_ettr_fraction(
        mean_time_between_failures_s=math.inf, interval_s=900.0, save_s=100.0, restarts=[]
    )
    assert law == 0.9
    planned = renewal_ettr_fraction(
        mean_time_between_failures_s=math.inf, interval_s=900.0, save_s=0.0, restarts=[],
        planned_per_s=1e-4, planned_s=1_000.0,
    )  # fmt: skip
    # Up 10,000 s, then down 1,000 s, begun again with each stop that comes meanwhile.
    assert planned == pytest.approx(math.exp(-0.1), rel=1e-9)


def test_where_nothing_is_ever_kept_it_is_nothing():
    law = renewal_ettr_fraction(
        mean_time_between_failures_s=1.0, interval_s=1e6, save_s=1.0, restarts=[(1.0, 600.0)]
    )
    assert law == 0.0
