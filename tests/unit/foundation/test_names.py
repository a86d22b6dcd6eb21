from __future__ import annotations

import pytest

from simulator.foundation.names import hint, known_list, nearest


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("shortst-first", ["fcfs", "sjf", "shortest-first"], "shortest-first"),
        ("EASY", ["fcfs", "easy"], "easy"),
        ("dry_cooler", ["air-chiller", "dry-cooler"], "dry-cooler"),
        ("chiller", ["dry-cooler-adiabatic", "air-chiller"], "air-chiller"),
        ("frankfort", ["frankfurt", "paris"], "frankfurt"),
        ("node", ["gpus_per_node", "link"], "gpus_per_node"),
        ("zzz", ["frankfurt", "paris"], None),
        ("", ["a"], None),
        ("x", [], None),
    ],
)
def test_finds_the_name_that_was_meant(word, known, found):
    assert nearest(word, known) == found


def test_a_different_case_beats_a_similar_spelling():
    assert nearest("kw", ["mW", "W", "KW", "k", "kw-h"]) == "KW"


def test_long_lists_are_cut_and_counted():
    assert known_list([f"n{i}" for i in range(20)], 3) == "n0, n1, n2, and 17 more"
    assert known_list([]) == "nothing"


def test_a_hint_without_a_near_name_still_lists_what_is_known():
    assert hint("zzz", ["paris"]) == "known: paris"
    assert hint("pari", ["paris"]) == "did you mean 'paris'? known: paris"
