"""Laws of reading and writing quantities: what is written is read back, and nothing else gets through."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.foundation import ScenarioError, UnitError, node_of, plain, read_document, units
from simulator.foundation.units import exact, parse, render

UNITS = st.sampled_from(sorted(units._TABLES))
AMOUNTS = st.floats(1e-12, 1e15, allow_subnormal=False)


@given(UNITS, AMOUNTS)
def test_an_exact_text_is_read_back_to_the_bit(unit, amount):
    amount = min(amount, 1.0) if unit == "fraction" else amount
    assert parse(exact(amount, unit), unit) == amount


@given(UNITS, AMOUNTS, st.integers(2, 6))
def test_a_rounded_text_is_read_back_within_its_digits(unit, amount, digits):
    amount = min(amount, 1.0) if unit == "fraction" else amount
    written = render(amount, unit, digits)
    if "," in written:
        # Groups of digits are for people; a scenario writes 172_032.
        written = written.replace(",", "_")
    assert parse(written, unit) == pytest.approx(amount, rel=0.5 * 10.0 ** (1 - digits) * (1 + 1e-9))


@given(UNITS, st.data())
def test_every_spelling_means_its_factor(unit, data):
    spelled = data.draw(st.sampled_from(sorted(units._TABLES[unit])))
    if unit == "C" or unit == "fraction":
        return
    once, thrice = parse(f"1 {spelled}", unit), parse(f"3 {spelled}", unit)
    assert once == float(units._TABLES[unit][spelled])
    assert thrice == pytest.approx(3 * once, rel=1e-15)
    assert once > 0


def read_or_refused(text, unit):
    """What a text is read as, or None when it is refused with a message."""
    try:
        return parse(text, unit)
    except UnitError:
        return None


@given(st.text(max_size=30), UNITS)
def test_any_text_is_a_finite_number_or_refused(text, unit):
    found = read_or_refused(text, unit)
    assert found is None or math.isfinite(found)


@given(st.from_regex(r"[-+0-9._eE/%a-zA-Z ]{0,20}", fullmatch=True), UNITS)
def test_anything_like_a_quantity_is_a_finite_number_or_refused(text, unit):
    found = read_or_refused(text, unit)
    assert found is None or math.isfinite(found)


@given(st.text(max_size=80))
def test_any_text_is_a_document_or_problems_with_their_place(text):
    try:
        assert read_document(text, "f.yaml").kind in {"map", "list", "scalar"}
        problems = []
    except ScenarioError as refused:
        problems = [refused.problems]
    assert all(found and all(problem.file == "f.yaml" for problem in found) for found in problems)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_python_values_survive_being_nodes(value):
    assert plain(node_of(value)) == value
