"""Which form of the kernel a crowd runs in, and that the lean one is the same functions with another word."""

from __future__ import annotations

import inspect
from types import FunctionType

import numpy as np
import pytest

from simulator.serving import kernel


def reached(function):
    """Return the kernel's functions that one calls, by way of others too, itself among them."""
    found = {}
    left = [inspect.unwrap(kernel.plain(function))]
    while left:
        body = left.pop()
        if id(body) in found:
            continue
        found[id(body)] = body
        called = (kernel.plain(body.__globals__.get(name)) for name in body.__code__.co_names)
        left += [
            other
            for other in called
            if isinstance(other, FunctionType) and other.__module__.startswith(f"{kernel.__name__}.")
        ]
    return list(found.values())


def test_a_form_is_the_same_code_with_another_word():
    featured, lean = reached(kernel.featured_advance), reached(kernel.lean_advance)
    assert {body.__code__ for body in featured} == {body.__code__ for body in lean}
    assert len(lean) == len(featured) > 80
    # Those that know no word of the columns need none.
    assert all(body.__globals__.get("FEATURED", True) for body in featured)
    assert not any(body.__globals__.get("FEATURED", False) for body in lean)
    names = {body.__name__ for body in lean if "FEATURED" in body.__code__.co_names}
    assert {"advance", "schedule", "_admit_waiting", "end_row"} <= names


@pytest.mark.parametrize(
    ("word", "value", "asks"),
    [
        (kernel.PREFIXES, 1, True),
        (kernel.DRAFTS, 3, True),
        (kernel.UNTIL_DONE, 1, True),
        (kernel.APART, 1, True),
        (kernel.GROUPS, 2, True),
        (kernel.GROUPS, 1, False),
        (kernel.ROUTER, kernel.PREFIX_AWARE, True),
        (kernel.ROUTER, kernel.LEAST_OUTSTANDING, False),
        (kernel.MOST_IN_FLIGHT, 8, False),
        (kernel.SHARED, 1, False),
        (kernel.PROMPTS_APART, 1, False),
    ],
)
def test_what_asks_for_features(word, value, asks):
    crowd = np.zeros(kernel.CROWD_FIELDS, np.int64)
    assert not kernel.asks_for_features(crowd)
    crowd[word] = value
    assert kernel.asks_for_features(crowd) is asks
