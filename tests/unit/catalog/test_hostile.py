"""Whatever stands in a `catalog:` block, the answer is an entry or a list of problems, never a traceback."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simulator.catalog.entries import KINDS
from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import ScenarioError

CATALOG = Catalog.shipped()
WORDS = st.sampled_from(
    [
        "value",
        "source",
        "basis",
        "note",
        "like",
        "low",
        "high",
        "title",
        "h100-sxm",
        "DE",
        "mix",
        "stages",
        "causes",
        "tdp",
        "memory",
        "1e400",
        "-1",
        "0",
        "nan",
        "true",
        "~",
        "coal",
        "fuel_shapes",
        "gpu",
        "classes",
        "",
        "80 GB",
    ]
)
LEAVES = WORDS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


def read_or_refused(block: dict[str, object]) -> Catalog | None:
    try:
        return CATALOG.with_block(block)
    except ScenarioError as error:
        if not error.problems:
            raise
        return None


@given(kind=st.sampled_from(sorted(KINDS)), name=WORDS, entry=TREES)
def test_any_entry_is_read_or_refused(kind: str, name: str, entry: object) -> None:
    own = read_or_refused({kind: {name: entry}})
    assert own is None or name in own.names(kind)


@given(kind=st.sampled_from(sorted(KINDS)), pick=st.integers(0, 99), field=WORDS, value=TREES)
def test_any_change_of_a_shipped_entry_is_read_or_refused(
    kind: str, pick: int, field: str, value: object
) -> None:
    names = CATALOG.names(kind)
    own = read_or_refused({kind: {names[pick % len(names)]: {field: value}}})
    assert own is None or own.names(kind) == names
