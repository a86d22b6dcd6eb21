"""Stretches of waiting: cut where the head's reason changed, and never two at a time."""

from __future__ import annotations

from simulator.engine.wait_log import WaitLog
from simulator.telemetry import WAIT_REASONS


def rows(log):
    table = log.table([4, 8, 1])
    return [
        (job, WAIT_REASONS[reason], WAIT_REASONS[by], start_s, end_s, gpus)
        for job, reason, by, start_s, end_s, gpus in zip(
            *(table[name].tolist() for name in ("job", "reason", "blocked_by", "start_s", "end_s", "gpus")),
            strict=True,
        )
    ]


def test_the_head_has_its_reason_and_a_follower_stands_behind_it():
    log = WaitLog()
    queue = log.queue()
    log.head_reason(queue, 0.0, "capacity")
    log.head_reason(queue, 10.0, "fragmentation")
    log.in_line(0, queue, True, 0.0, 15.0)
    log.in_line(1, queue, False, 5.0, 10.0)
    log.apart(1, "carbon-hold", 10.0, 30.0)
    assert rows(log) == [
        (0, "capacity", "capacity", 0.0, 10.0, 4),
        (0, "fragmentation", "fragmentation", 10.0, 15.0, 4),
        (1, "behind", "capacity", 5.0, 10.0, 8),
        (1, "carbon-hold", "carbon-hold", 10.0, 30.0, 8),
    ]


def test_the_last_reason_of_an_instant_counts():
    log = WaitLog()
    queue = log.queue()
    log.head_reason(queue, 3.0, "capacity")
    log.head_reason(queue, 3.0, "down")
    log.in_line(2, queue, True, 3.0, 4.0)
    assert rows(log) == [(2, "down", "down", 3.0, 4.0, 1)]


def test_queues_keep_their_reasons_apart_and_nothing_is_kept_of_no_time():
    log = WaitLog()
    one, two = log.queue(), log.queue()
    log.head_reason(one, 0.0, "capacity")
    log.head_reason(two, 0.0, "no-such-gpu")
    log.in_line(0, two, True, 0.0, 1.0)
    log.in_line(1, one, True, 1.0, 1.0)
    log.apart(2, "moving", 2.0, 2.0)
    assert rows(log) == [(0, "no-such-gpu", "no-such-gpu", 0.0, 1.0, 4)]


def test_nothing_waited():
    table = WaitLog().table([])
    assert {name: len(column) for name, column in table.items()} == dict.fromkeys(table, 0)
