"""A load test at a fixed concurrency: answers worked out by hand, and what must hold of any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.performance.serving import IterationTime
from simulator.serving.closed_loop import Hold, LoadTest, run_load_test


def flat(seconds: float, widest: int = 64) -> IterationTime:
    """Every iteration takes the same time, whatever it holds."""
    return IterationTime(np.full(widest + 1, round(seconds * 1e12), dtype=np.int64), 0, 0, 0)


def linear(widest: int = 64) -> IterationTime:
    """An iteration takes a second for each of its tokens."""
    seconds = np.arange(widest + 1, dtype=np.int64)
    return IterationTime(seconds * 10**12, 0, 0, 0)


def test_one_user_alternates_prompt_and_answer():
    """Prompts of 10 tokens go in one iteration, which gives the first of 5 tokens: 4 more follow."""
    found = run_load_test(flat(1.0), LoadTest(1, 10, 5, rounds=3))
    assert found.ttft_s == pytest.approx(1.0)
    assert found.tpot_s == pytest.approx(1.0)
    assert found.elapsed_s == pytest.approx(15.0)
    assert (found.prompt_tokens, found.output_tokens) == (30, 15)


def test_a_prompt_wider_than_the_budget_goes_in_chunks():
    """100 tokens at 40 an iteration: three iterations, of which the last gives the first token."""
    found = run_load_test(flat(1.0), LoadTest(1, 100, 3, token_budget=40, rounds=1))
    assert found.ttft_s == pytest.approx(3.0)
    assert found.elapsed_s == pytest.approx(5.0)


def test_prompts_that_do_not_fit_together_queue():
    """Two users, a budget of one prompt: first tokens at 1 s and 2 s; the first user's second
    token shares the second prompt's iteration.
    """
    found = run_load_test(flat(1.0), LoadTest(2, 40, 3, token_budget=41, rounds=1))
    assert found.ttft_s == pytest.approx(1.5)
    assert found.tpot_s == pytest.approx(1.0)
    assert found.elapsed_s == pytest.approx(4.0)


def test_a_cache_for_one_request_serves_users_in_turn():
    """13 tokens are remembered of a request at its end: with room for 15 the second waits 3 s."""
    found = run_load_test(flat(1.0), LoadTest(2, 10, 3, kv_tokens=15, reserved_output_fraction=1.0, rounds=1))
    assert found.ttft_s == pytest.approx((1.0 + 4.0) / 2)


def test_decodes_wait_where_prompts_are_not_mixed_in():
    """The first user's decode waits for the second's prompt: 3 s for 2 tokens."""
    found = run_load_test(flat(1.0), LoadTest(2, 40, 3, token_budget=41, rounds=1, mixed=False))
    assert found.ttft_s == pytest.approx(1.5)
    assert found.tpot_s == pytest.approx((1.5 + 1.0) / 2)


def test_prompts_pass_the_front_end_one_after_the_other():
    """1 s a request, which all pass together, and 1 s for each of two tokens in turn: ready at 3 and 5 s."""
    test = LoadTest(2, 2, 1, rounds=1, request_s=1.0, prompt_token_s=1.0)
    assert run_load_test(flat(1.0), test).ttft_s == pytest.approx((4.0 + 6.0) / 2)


def test_an_engine_that_looks_every_so_often_keeps_a_prompt_waiting():
    """A request that comes while another decodes is seen at one of every ten iterations."""
    test = LoadTest(2, 1, 40, shortest_fraction=0.9, rounds=2, hold=Hold(10, runs_free=True))
    plain = run_load_test(flat(1.0), LoadTest(2, 1, 40, shortest_fraction=0.9, rounds=2))
    held = run_load_test(flat(1.0), test)
    assert plain.ttft_s == pytest.approx(1.0)
    assert 1.0 < held.ttft_s <= 1.0 + 0.5 * 10


def test_prompts_that_are_held_go_when_there_are_enough_tokens():
    """A next prompt of 2 to 4 tokens beside one decode: 3 tokens end the wait, 6 never are there."""
    few = LoadTest(2, 4, 40, shortest_fraction=0.5, rounds=2, hold=Hold(1000, tokens=3))
    many = LoadTest(2, 4, 40, shortest_fraction=0.5, rounds=2, hold=Hold(1000, tokens=6))
    at_once = run_load_test(flat(1.0), few).ttft_s
    assert at_once == run_load_test(flat(1.0), LoadTest(2, 4, 40, shortest_fraction=0.5, rounds=2)).ttft_s
    assert run_load_test(flat(1.0), many).ttft_s > at_once + 1.0


def test_a_single_token_has_no_time_per_token():
    assert run_load_test(flat(1.0), LoadTest(2, 4, 1, rounds=2)).tpot_s == 0.0


@settings(max_examples=40, deadline=None)
@given(
    users=st.integers(1, 24),
    prompt=st.integers(1, 200),
    output=st.integers(2, 60),
    slope=st.integers(0, 2_000_000_000),
)
def test_tokens_are_all_worked_and_more_users_never_hurry_anybody(users, prompt, output, slope):
    tokens = 10_000_000_000 + slope * np.arange(65, dtype=np.int64)
    cost = IterationTime(tokens, 1_000_000, 50_000, 1_000)
    one = run_load_test(cost, LoadTest(users, prompt, output, shortest_fraction=0.5, rounds=2))
    assert one.ttft_s >= tokens[1] / 1e12
    assert one.tpot_s >= tokens[1] / 1e12
    assert 0.0 < one.decoding <= users
    # Every token but the first of each answer is one sequence in one decode.
    more = run_load_test(cost, LoadTest(2 * users, prompt, output, shortest_fraction=1.0, rounds=2))
    same = run_load_test(cost, LoadTest(users, prompt, output, shortest_fraction=1.0, rounds=2))
    assert more.ttft_s >= same.ttft_s * (1.0 - 1e-9)


def test_prompts_that_come_again_are_remembered_but_for_their_last_block():
    """One user, one prompt of 40 tokens at 20 an iteration: two iterations at first, then one."""
    test = LoadTest(1, 40, 2, token_budget=20, rounds=3)
    new, again = (run_load_test(flat(1.0), replace(test, distinct_prompts=count)) for count in (None, 1))
    assert new.ttft_s == pytest.approx(2.0)
    assert again.ttft_s == pytest.approx((2.0 + 1.0 + 1.0) / 3)
    assert again.prompt_tokens == new.prompt_tokens


def test_whole_prompts_wait_for_an_iteration_with_room():
    """Budget 50, two prompts of 30: cut, the second's rest shares its iteration with a decode."""
    test = LoadTest(2, 30, 2, token_budget=50, rounds=1)
    cut, whole = (run_load_test(linear(), replace(test, whole_prompts=chosen)) for chosen in (False, True))
    assert cut.ttft_s == pytest.approx((50 + 61) / 2)
    assert whole.ttft_s == pytest.approx((30 + 61) / 2)
    longer = replace(test, prompt_tokens=60, whole_prompts=True)
    assert run_load_test(linear(), longer).prompt_tokens == 120


def test_kernels_compile_once_at_the_first_iteration_that_is_so_wide():
    """Two users of 30 tokens wait 7 s together in the first round, not in the second; others never."""
    test = LoadTest(2, 30, 1, token_budget=60, rounds=2, compiles_s=7.0, compiled_tokens=60)
    assert run_load_test(flat(1.0), test).ttft_s == pytest.approx((8.0 + 8.0 + 1.0 + 1.0) / 4)
    assert run_load_test(flat(1.0), replace(test, compiled_tokens=61)).ttft_s == pytest.approx(1.0)
