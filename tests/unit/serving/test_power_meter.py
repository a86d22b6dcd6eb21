from __future__ import annotations

from simulator.serving.power_meter import DECODE, IDLE, MIXED, PHASES, PREFILL, MeterBin, PowerMeter


def meter(start=0):
    out: list[MeterBin] = []
    return PowerMeter(3, 50, start, 100, out), out


def by_phase(**amounts):
    return tuple(amounts.get(name, 0) for name in PHASES)


def test_a_change_inside_a_bin_is_an_exact_sum():
    found, out = meter()
    found.set(0, 7, DECODE)
    found.set(40, 11, PREFILL)
    found.read(100)
    assert out == [
        MeterBin(
            3, 50, 0, 100, 40 * 7 + 60 * 11, 11,
            by_phase(decode=40, prefill=60), by_phase(decode=280, prefill=660),
        )
    ]  # fmt: skip


def test_a_long_level_fills_every_bin_it_crosses():
    found, out = meter(start=30)
    found.set(30, 5, IDLE)
    found.set(250, 9, MIXED)
    found.close(260)
    assert out == [
        MeterBin(3, 50, 30, 100, 70 * 5, 5, by_phase(idle=70), by_phase(idle=350)),
        MeterBin(3, 50, 100, 200, 500, 5, by_phase(idle=100), by_phase(idle=500)),
        MeterBin(
            3, 50, 200, 260, 50 * 5 + 10 * 9, 9, by_phase(idle=50, mixed=10), by_phase(idle=250, mixed=90)
        ),
    ]


def test_the_same_watts_in_another_phase_are_kept_apart():
    found, out = meter()
    found.set(0, 5, PREFILL)
    found.set(30, 5, DECODE)
    found.set(30, 5, MIXED)
    found.read(100)
    assert out[0].phase_ps == by_phase(prefill=30, mixed=70)
    assert sum(out[0].phase_energy) == out[0].energy == 500


def test_what_groups_do_together_is_any_of_what_each_does():
    assert PREFILL | DECODE == MIXED
    assert [MIXED | each for each in (IDLE, PREFILL, DECODE)] == [MIXED] * 3
    assert IDLE | DECODE == DECODE


def test_a_level_of_no_duration_is_no_maximum():
    found, out = meter()
    found.set(0, 1000, PREFILL)
    found.set(0, 2, DECODE)
    found.read(100)
    assert out[0].largest_mw == 2


def test_a_change_at_the_edge_belongs_to_the_next_bin():
    found, out = meter()
    found.set(0, 2, DECODE)
    found.set(100, 8, DECODE)
    found.read(200)
    assert [(entry.energy, entry.largest_mw) for entry in out] == [(200, 2), (800, 8)]


def test_the_total_holds_across_bins_and_the_present_level():
    found, _ = meter()
    found.set(0, 3, DECODE)
    found.set(150, 4, DECODE)
    assert found.total(150) == 450
    assert found.total(330) == 450 + 180 * 4
    found.close(330)
    assert found.total(330) == 450 + 180 * 4


def test_reading_more_often_changes_nothing():
    often, seldom = meter()[0], meter()[0]
    for each in (often, seldom):
        each.set(0, 13, DECODE)
    for at in range(0, 990, 7):
        often.read(at)
    for each in (often, seldom):
        each.close(1000)
    assert often.out == seldom.out
