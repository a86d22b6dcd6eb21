"""Users who ask, wait, think and ask again."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.foundation.errors import CatalogError
from simulator.foundation.streams import Streams
from simulator.workload.lengths import LognormalLengths
from simulator.workload.user_loop import UserLoop


def loop(users=3, think_time_s=10.0, end_s=1000.0):
    lengths = LognormalLengths.from_means(100, 50, prompt_median_tokens=60, output_median_tokens=30)
    return UserLoop(users, think_time_s, lengths, Streams(1), "chat", end_s=end_s)


def asked(users, answer_s, count):
    """Return (user, prompt, output) of the first requests when answers take `answer_s`."""
    source, found, waiting = loop(users, end_s=math.inf), [], []
    while len(found) < count:
        if waiting and waiting[0][0] <= source.next_s:
            at_s, user = waiting.pop(0)
            source.answered(user, at_s)
            continue
        request = source.take()
        found.append(request)
        waiting.append((request.arrived_s + answer_s, request.user))
    return found


def test_nobody_asks_again_before_he_is_answered():
    source = loop(users=3)
    assert {source.take().user for _ in range(3)} == {0, 1, 2}
    assert source.next_s == math.inf
    source.answered(1, 500.0)
    assert source.next_s > 500.0
    assert source.take().user == 1


def test_what_a_user_asks_does_not_depend_on_how_fast_he_is_answered():
    quick, slow = asked(4, 0.5, 200), asked(4, 60.0, 200)
    for user in range(4):
        mine = [(r.prompt_tokens, r.output_tokens) for r in quick if r.user == user]
        his = [(r.prompt_tokens, r.output_tokens) for r in slow if r.user == user]
        both = min(len(mine), len(his))
        assert both > 20
        assert mine[:both] == his[:both]


def test_a_lone_users_pauses_have_their_mean():
    """Exponential pauses: the mean of n has a standard error of mean / sqrt(n)."""
    source = loop(users=1, think_time_s=10.0, end_s=math.inf)
    pauses_s, at_s = [], 0.0
    for _ in range(4000):
        request = source.take()
        pauses_s.append(request.arrived_s - at_s)
        at_s = request.arrived_s + 2.0
        source.answered(0, at_s)
    assert abs(np.mean(pauses_s) - 10.0) < 4.0 * 10.0 / math.sqrt(4000)


def test_nobody_asks_after_the_end():
    source = loop(users=50, end_s=5.0)
    came = 0
    while source.next_s < math.inf:
        assert source.take().arrived_s <= 5.0
        came += 1
    assert 0 < came < 50


@pytest.mark.parametrize(("users", "think_time_s"), [(0, 1.0), (1, 0.0), (1, math.inf)])
def test_loops_that_cannot_be_are_refused(users, think_time_s):
    with pytest.raises(CatalogError, match="expected one user or more"):
        loop(users, think_time_s)
