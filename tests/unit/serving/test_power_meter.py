from __future__ import annotations

from simulator.serving.power_meter import MeterBin, PowerMeter


def meter(start=0):
    out: list[MeterBin] = []
    return PowerMeter(3, 50, start, 100, out), out


def test_a_change_inside_a_bin_is_an_exact_sum():
    found, out = meter()
    found.set(0, 7)
    found.set(40, 11)
    found.read(100)
    assert out == [MeterBin(3, 50, 0, 100, 40 * 7 + 60 * 11, 11)]


def test_a_long_level_fills_every_bin_it_crosses():
    found, out = meter(start=30)
    found.set(30, 5)
    found.set(250, 9)
    found.close(260)
    assert out == [
        MeterBin(3, 50, 30, 100, 70 * 5, 5),
        MeterBin(3, 50, 100, 200, 500, 5),
        MeterBin(3, 50, 200, 260, 50 * 5 + 10 * 9, 9),
    ]


def test_a_level_of_no_duration_is_no_maximum():
    found, out = meter()
    found.set(0, 1000)
    found.set(0, 2)
    found.read(100)
    assert out[0].largest_mw == 2


def test_a_change_at_the_edge_belongs_to_the_next_bin():
    found, out = meter()
    found.set(0, 2)
    found.set(100, 8)
    found.read(200)
    assert [(entry.energy, entry.largest_mw) for entry in out] == [(200, 2), (800, 8)]


def test_the_total_holds_across_bins_and_the_present_level():
    found, _ = meter()
    found.set(0, 3)
    found.set(150, 4)
    assert found.total(150) == 450
    assert found.total(330) == 450 + 180 * 4
    found.close(330)
    assert found.total(330) == 450 + 180 * 4


def test_reading_more_often_changes_nothing():
    often, seldom = meter()[0], meter()[0]
    for each in (often, seldom):
        each.set(0, 13)
    for at in range(0, 990, 7):
        often.read(at)
    for each in (often, seldom):
        each.close(1000)
    assert often.out == seldom.out
