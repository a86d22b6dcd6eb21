"""Mutations made from the scenario itself: whatever is broken, ScenarioError is the only answer."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.foundation.documents import plain, read_document
from simulator.foundation.errors import ScenarioError
from simulator.foundation.names import nearest
from simulator.foundation.units import is_dimensional
from simulator.scenario import load, load_text, shipped
from simulator.scenario.branch import Branch
from simulator.scenario.choices import Choice
from simulator.scenario.fields import Measure
from simulator.scenario.writing import _lines, said_form

QUICKSTART = load("quickstart")
#: Every key of the resolved quickstart, so that defaults are broken too.
WHOLE = said_form(QUICKSTART)
FILE = shipped.locate("quickstart")[0].read_text(encoding="utf-8")


def text_of(form):
    return "\n".join(_lines(form)) + "\n"


def routes(value, path=()):
    """Every key and item below a mapping."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in entries:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from routes(item, (*path, key))


def parent_of(form, route):
    for step in route[:-1]:
        form = form[step]
    return form


ROUTES = list(routes(WHOLE))
KEYS = [route for route in ROUTES if isinstance(route[-1], str) and route != ("catalog",)]
LEAVES = [route for route in ROUTES if not isinstance(parent_of(WHOLE, route)[route[-1]], dict | list)]


def refused(form):
    """Load a form that is wrong; anything but ScenarioError fails the test."""
    with pytest.raises(ScenarioError) as caught:
        load_text(text_of(form), name="mutant")
    assert caught.value.problems
    for problem in caught.value.problems:
        assert problem.message
        assert problem.file == "mutant"
        assert problem.line >= 1
        assert "Traceback" not in str(problem)
    return caught.value.problems


def read_or_refuse(text, overrides=()):
    """Return the scenario of a text, or None if it was refused with a message; else fail."""
    try:
        return load_text(text, overrides, name="mutant")
    except ScenarioError as error:
        message = str(error)
    assert message
    return None


def test_the_whole_form_itself_is_right():
    assert load_text(text_of(WHOLE)).hash == QUICKSTART.hash


@settings(max_examples=60)
@given(st.sampled_from(KEYS), st.integers(0, 10**6), st.sampled_from("abcxyz_"))
def test_a_misspelt_key_is_refused_at_its_line(route, where, letter):
    form = copy.deepcopy(WHOLE)
    parent = parent_of(form, route)
    word = route[-1]
    at = where % (len(word) + 1)
    typo = word[:at] + letter + word[at:]
    # Names that people give, such as tenants, have no right spelling.
    if typo in parent or "tenants" in route[:-1]:
        return
    value = parent.pop(word)
    parent[typo] = value
    found = refused(form)
    assert any(typo in problem.message or typo in problem.hint or typo in problem.key for problem in found)


@settings(max_examples=60)
@given(st.sampled_from(LEAVES), st.sampled_from(["{a: b}", "[1, 2]", "{}", "[]"]))
def test_a_structure_for_a_value_is_refused(route, structure):
    form = copy.deepcopy(WHOLE)
    if route[0] == "catalog":
        return
    parent_of(form, route)[route[-1]] = plain(read_document(structure, "x"))
    refused(form)


@settings(max_examples=60)
@given(
    st.sampled_from([route for route in ROUTES if route not in LEAVES and route != ("catalog",)]),
    st.sampled_from(["7", "seven", "true", "-1 d"]),
)
def test_a_word_for_a_structure_is_refused(route, word):
    form = copy.deepcopy(WHOLE)
    parent = parent_of(form, route)
    parent[route[-1]] = word
    changed = read_or_refuse(text_of(form))
    # A word that stands for a mapping (`replicas: 7`) is right; then it must say something else.
    assert changed is None or changed.hash != QUICKSTART.hash


def required(value, route=()):
    """Keys without a default, from the tree's own classes."""
    if isinstance(value, Branch):
        cls = type(value)
        for key, name in cls.keys().items():
            if cls.model_fields[name].is_required():
                yield (*route, key)
            yield from required(getattr(value, name), (*route, key))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from required(item, (*route, index))


@pytest.mark.parametrize("route", list(required(QUICKSTART)), ids=lambda route: ".".join(map(str, route)))
def test_a_required_key_left_out_is_named(route):
    form = copy.deepcopy(WHOLE)
    del parent_of(form, route)[route[-1]]
    if not parent_of(form, route):
        parent_of(form, route[:-1])[route[-2]] = {}
    found = refused(form)
    assert any(problem.message == "missing: this key is required" for problem in found)
    assert any(problem.key.endswith(str(route[-1])) for problem in found)


def dimensional(value, route=()):
    """Keys whose value has a unit, from the tree's own classes."""
    if isinstance(value, Choice):
        for info, item in value.fields():
            if info.unit and is_dimensional(info.unit) and item is not None:
                yield (*route, info.key)
    elif isinstance(value, Branch):
        cls = type(value)
        for key, name in cls.keys().items():
            reader, item = cls.reader(name), getattr(value, name)
            if isinstance(reader, Measure) and is_dimensional(reader.unit) and item is not None:
                yield (*route, key)
            else:
                yield from dimensional(item, (*route, key))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from dimensional(item, (*route, index))


DIMENSIONAL = list(dimensional(QUICKSTART))


@pytest.mark.parametrize("route", DIMENSIONAL, ids=lambda route: ".".join(map(str, route)))
def test_a_bare_number_for_a_dimension_is_refused(route):
    form = copy.deepcopy(WHOLE)
    parent_of(form, route)[route[-1]] = "7"
    (problem, *_) = refused(form)
    assert "'7' has no unit; write e.g." in problem.message


def test_the_quickstart_has_dimensions_of_every_sort():
    assert len(DIMENSIONAL) >= 15


@settings(max_examples=60)
@given(st.sampled_from(LEAVES), st.text(max_size=30))
def test_any_text_for_a_value_is_read_or_refused(route, text):
    form = copy.deepcopy(WHOLE)
    parent_of(form, route)[route[-1]] = text
    read_or_refuse(text_of(form))


@given(st.text(max_size=200))
def test_any_text_as_a_file_is_read_or_refused(text):
    read_or_refuse(text)


@settings(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.text(alphabet="\t :-[]{}#&*!|>'\"%@`,?~0aZ\n", max_size=4),
)
def test_any_edit_of_the_quickstart_is_read_or_refused(start, length, inserted):
    start %= len(FILE)
    read_or_refuse(FILE[:start] + inserted + FILE[start + length % 20 :])


@settings(max_examples=60)
@given(st.sampled_from(KEYS), st.text(max_size=20))
def test_any_override_is_read_or_refused(route, value):
    key = ".".join(str(step) for step in route)
    read_or_refuse(FILE, [f"{key}={value}"])


def test_typos_of_top_level_keys_get_the_right_suggestion():
    """Every top-level key with its middle letter gone is recognised."""
    for key in WHOLE:
        typo = key[: len(key) // 2] + key[len(key) // 2 + 1 :]
        assert nearest(typo, list(WHOLE)) == key
