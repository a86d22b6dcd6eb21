from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from simulator.foundation import Streams


def test_the_same_seed_and_name_give_the_same_numbers():
    first, again = Streams(7).stream("node 3"), Streams(7).stream("node 3")
    assert first.random(5).tolist() == again.random(5).tolist()


def test_another_name_or_seed_gives_other_numbers():
    drawn = [Streams(seed).stream(name).random() for seed in (7, 8) for name in ("node 3", "node 4", "")]
    assert len(set(drawn)) == 6


def test_the_numbers_are_remembered_across_versions():
    # Golden: proves sameness, not truth. If this moves, every seeded result moves.
    assert Streams(1).stream("arrivals").integers(0, 10**6, 4).tolist() == [190268, 692060, 840955, 358962]


def test_single_numbers_come_from_blocks_in_the_order_of_drawing():
    block = Streams(7).block("x")
    rng = Streams(7).stream("x/exponential")
    expected = np.concatenate([rng.standard_exponential(1024), rng.standard_exponential(1024)])
    assert [block.exponential(3.0) for _ in range(1500)] == (3.0 * expected[:1500]).tolist()


def test_kinds_of_numbers_do_not_shift_each_other():
    plain, mixed = Streams(7).block("x"), Streams(7).block("x")
    found = []
    for _ in range(50):
        mixed.normal()
        mixed.exponential(1.0)
        found.append(mixed.uniform())
    assert found == [plain.uniform() for _ in range(50)]


def test_whole_numbers_below_a_count_reach_both_ends_and_no_further():
    block = Streams(7).block("x")
    assert {block.below(4) for _ in range(500)} == {0, 1, 2, 3}
    assert block.below(1) == 0


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="not negative"):
        Streams(-1)


def test_names_do_not_depend_on_the_hash_seed_of_python():
    code = "from simulator.foundation import Streams; print(Streams(3).stream('a').random())"
    printed = set()
    for hash_seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        ran = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        printed.add(ran.stdout)
    assert len(printed) == 1
