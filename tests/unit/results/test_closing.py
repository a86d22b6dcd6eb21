"""The closing print keeps to its page, whatever a run holds."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from simulator.foundation.calendar import Calendar
from simulator.results.closing import closing_lines


def digest(**changes):
    found = {
        "title": "A hall",
        "name": "hall",
        "scenario": "hall",
        "sites": [{"name": "hall", "grid": "DE"}],
        "horizon_s": 86400.0,
        "seeds": 1,
        "wall_s": 1.25,
        "currency": "USD",
        "gpu_hours": {
            "provided": 192.0, "allocated": 100.0, "productive": 80.0, "overhead": 15.0, "lost": 5.0,
            "free": 90.0, "held": 0.0, "down": 2.0, "maintenance": 0.0, "idle_tail": None,
        },
        "training": [],
        "services": [],
        "jobs": [],
        "power": {
            "it_energy_mwh": 1.0, "facility_energy_mwh": 1.2, "pue": 1.2, "peak_15min_power_w": 60e3,
            "load_factor_fraction": 0.8, "limit_w": None, "by_site": [],
        },
        "carbon": {
            "location_tco2e": 0.4, "market_tco2e": 0.4, "marginal_tco2e": None, "embodied_tco2e": None,
            "factor_set": "ipcc", "factor_set_tco2e": {},
        },
        "water": {"site_water_m3": 0.0, "source_water_m3": None},
        "cost": {
            "total_cost_usd": None, "parts_usd": {}, "usd_per_allocated_gpu_hour": None,
            "usd_per_productive_gpu_hour": None, "price_year": None,
        },
        "waiting": {"gpu_hours": 0.0, "by_tenant": {}, "by_reason": {}},
        "limits": [],
        "moves": [],
        "links": [],
        "watch": ["nothing to watch"],
        "audit": {"accounts": 3, "worst_relative_difference": 0.0},
        "folder": "runs/hall",
    }  # fmt: skip
    return found | changes


def lines(**changes):
    run = SimpleNamespace(
        closing_data=lambda: digest(**changes), calendar=Calendar.from_text("2024-03-04 00:00 UTC")
    )
    return closing_lines(run)


def service(name):
    return {
        "name": name, "model": "m", "requests": 1.5e6, "stability": "stable", "headroom_fraction": 0.2,
        "tpot_p50_s": 0.03, "tpot_p99_s": 0.05, "usd_per_million_tokens": 2.0,
        "tiers": [{"tier": f"tier-{number}", "ttft_p50_s": 0.2, "ttft_p99_s": 12.0} for number in range(6)],
        "late_hours": [
            {"tier": f"tier-{number}", "hours": 11, "of": 336, "by_metric": {"TTFT": 9, "TPOT": 5},
             "first_hour": 13, "last_hour": 17}
            for number in range(6)
        ],
    }  # fmt: skip


def job(name):
    return {"job": name, "tokens": 2.5e12, "finished_s": None, "state": "running", "mfu_fraction": 0.4,
            "mfu_convention": "model-full", "restarts": 5.0, "ettr_fraction": 0.97,
            "reliability": {"ettr_law_fraction": None, "law_bends": []},
            "facility_energy_mwh": 1290.0, "location_tco2e": 553.2, "it_w_per_gpu": 330.0,
            "watts": "given"}  # fmt: skip


FULL = {
    "title": "A very long title " * 5,
    "training": [job(f"pretrain-{number}") for number in range(7)],
    "services": [service(f"chat-with-a-long-name-{number}") for number in range(5)],
    "jobs": [
        {"kind": kind, "jobs": 1000, "done": 900, "running": 50, "queued": 50, "wait_p50_s": 60.0,
         "wait_p95_s": 9e4}
        for kind in ("research", "trace", "more", "others")
    ],
    "waiting": {
        "gpu_hours": 1e5,
        "by_tenant": {f"tenant-{number}": 0.1 for number in range(10)},
        "by_reason": {f"reason-{number}": 0.1 for number in range(10)},
    },
    "limits": [
        {"metric": "p95_wait_s", "of": f"tenant-{number}", "bound": 14400.0, "value": 3600.0, "passed": True}
        for number in range(12)
    ],
    "watch": [f"something {number} that goes on and on " * 6 for number in range(20)],
    "cost": {
        "total_cost_usd": 9.9e9, "parts_usd": {f"part {number}": 1e9 for number in range(9)},
        "usd_per_allocated_gpu_hour": 2.0, "usd_per_productive_gpu_hour": 3.0, "price_year": "2025",
    },
    "folder": "/a/very/long/path" * 12,
}  # fmt: skip


@pytest.mark.parametrize("changes", [{}, FULL], ids=["nearly nothing", "far too much"])
def test_at_most_thirty_lines_of_a_hundred_columns(changes):
    said = lines(**changes)
    assert len(said) <= 30
    assert max(map(len, said)) <= 100
    for word in (
        "GPU-hours",
        "Work",
        "Power",
        "Carbon",
        "Water",
        "Cost",
        "Who waited",
        "Limits",
        "Watch",
        "Audit",
    ):
        assert any(line.startswith(word) for line in said), word


def test_what_is_unknown_says_so():
    text = "\n".join(lines())
    for words in ("marginal unknown", "embodied unknown", "source unknown", "nobody",
                  "none set", "none was asked for", "nothing to watch", "1 seed"):  # fmt: skip
        assert words in text, words


def test_a_cost_with_an_unknown_part_is_no_sum():
    cost = FULL["cost"] | {"total_cost_usd": None, "parts_usd": {"hardware": 5e4, "energy": None}}
    text = "\n".join(lines(cost=cost))
    assert "unknown: no price of energy; known, in kUSD of 2025: hardware 50" in text
    assert "0 kUSD" not in text


def test_water_nobody_gave_is_unknown():
    text = "\n".join(lines(water={"site_water_m3": None, "source_water_m3": 3.0}))
    assert "site unknown  source 3 m3" in text


def test_each_training_job_says_its_energy_and_whose_watts():
    text = " ".join(" ".join(lines(training=[job("fed"), job("own") | {"watts": "modelled"}])).split())
    assert "MFU 40 % (model-full)" in text
    assert text.count("1,290 MWh at the meter, 553.2 t") == 2
    assert "330 W/GPU given" in text
    assert "330 W/GPU modelled" in text


def test_sites_are_told_apart():
    by_site = [
        {"name": "fed", "it_energy_mwh": 1172.3, "facility_energy_mwh": 1289.5},
        {"name": "own", "it_energy_mwh": 1066.0, "facility_energy_mwh": 1173.0},
    ]
    text = " ".join(" ".join(lines(power=digest()["power"] | {"by_site": by_site})).split())
    assert "fed IT 1,172 MWh, meter 1,290 MWh; own IT 1,066 MWh, meter 1,173 MWh" in text


def test_gpu_hours_stay_whole_when_lines_are_cut():
    said = lines(**FULL)
    assert sum(1 for line in said if line.strip().startswith(("productive", "overhead", "lost", "free"))) == 4


def test_each_limit_says_pass_fail_or_not_checked():
    limits = [
        {"metric": "pue", "of": None, "bound": 1.3, "value": 1.19, "passed": True},
        {"metric": "cost_usd", "of": None, "bound": 1e6, "value": 2e6, "passed": False},
        {"metric": "ttft_p99_s", "of": "chat", "bound": 1.0, "value": None, "passed": None},
    ]
    text = " ".join(" ".join(lines(limits=limits)).split())
    assert "pue 1.19 <= 1.3 PASS" in text
    assert "cost 2 MUSD > 1 MUSD FAIL" in text
    assert "ttft p99 chat n/a of 1 s NOT CHECKED" in text


def test_money_is_shown_in_the_scenarios_currency():
    cost = FULL["cost"] | {"total_cost_usd": 108240.0, "parts_usd": {"hardware": 108240.0}}
    text = "\n".join(lines(cost=cost, currency="EUR"))
    assert "100 kEUR of 2025: hardware 100" in text


def test_large_numbers_have_no_exponent():
    power = digest()["power"] | {"it_energy_mwh": 1234567.8, "facility_energy_mwh": 2345678.9}
    carbon = digest()["carbon"] | {"location_tco2e": 987654.0, "factor_set_tco2e": {"a": 98765.0, "b": 1e6}}
    text = "\n".join(lines(power=power, carbon=carbon, water={"site_water_m3": 1e7, "source_water_m3": 2e8}))
    assert "meter 2,345,679 MWh" in text
    assert "(98,765 t to 1,000,000 t by factor set)" in text
    assert "e+" not in text


def test_the_idle_tail_is_named():
    tail = {"gpu_hours": 42000.0, "gpus": 384, "job": "pretrain-8b", "ended_s": 9.4 * 86400}
    hours = digest()["gpu_hours"] | {"idle_tail": tail}
    text = " ".join(" ".join(lines(gpu_hours=hours)).split())
    assert "of the free, 42,000 are 384 GPUs idle after pretrain-8b ended on day 9.4" in text


def test_the_next_command_tries_another_grid():
    assert lines()[-1].endswith("next: datahall run hall sites.hall.grid=FR")
    assert lines(sites=[{"name": "paris", "grid": "FR"}])[-1].endswith("sites.paris.grid=DE")


def test_three_services_of_one_tier_are_told_in_full():
    served = [service(name) | {"tiers": service(name)["tiers"][:1], "late_hours": []} for name in "abc"]
    text = "\n".join(lines(services=served))
    for name in "abc":
        assert f"{name}: 1,500,000 requests; TTFT p50/p99 tier-0 0.2/12 s" in text
    assert text.count("STABLE, headroom 20 %; TPOT") == 3
    assert "in the report" not in text


@pytest.mark.parametrize("count", [3, 5, 6])
def test_services_that_do_not_fit_are_told_in_a_line_each(count):
    """Six tiers of each: the last of three was cut off before."""
    served = [service(f"chat-{number}") | {"ttft_p50_s": 0.2, "ttft_p99_s": 12.0} for number in range(count)]
    said = lines(services=served, watch=["one", "two", "three"], limits=FULL["limits"])
    assert len(said) <= 30
    text = "\n".join(said)
    for number in range(count):
        said = f"chat-{number}: 1,500,000 requests; TTFT 0.2/12 s, TPOT 30/50 ms; STABLE, headroom 20 %"
        assert said in text
    assert "more services" not in text


def test_a_line_has_room_for_two_tiers():
    two = {"tiers": service("x")["tiers"][:2], "ttft_p50_s": 9.0, "ttft_p99_s": 99.0}
    text = " ".join(" ".join(lines(services=[service(name) | two for name in "abcd"])).split())
    assert text.count("TTFT tier-0 0.2/12 s, tier-1 0.2/12 s, TPOT 30/50 ms; STABLE") == 4


def test_what_is_left_out_says_how_much_and_where():
    text = "\n".join(lines(**{**FULL, "services": FULL["services"] * 2}))
    assert "more lines in the report)" in text
    assert "and 4 more services (in the report)" in "\n".join(lines(services=FULL["services"] * 2))
