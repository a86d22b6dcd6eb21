"""Reading single values: what is understood, what is refused, and with which words."""

from __future__ import annotations

import math
import pickle
from types import SimpleNamespace

import pytest
from pydantic_core import PydanticCustomError

from simulator.foundation.calendar import Calendar
from simulator.foundation.units import parse
from simulator.scenario import load_text
from simulator.scenario.fields import File, Flag, Horizon, Measure, Moment, Ratio, Text
from simulator.scenario.said import Place, Said
from simulator.scenario.start import ReadsStart
from simulator.scenario.writing import spelled


def refusal(call):
    with pytest.raises(PydanticCustomError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("measure", "said", "value"),
    [
        (Measure("s"), "0 s", 0.0),
        (Measure("s"), 30.0, 30.0),
        (Measure("W"), "1.2 MW", 1.2e6),
        (Measure("bytes/s"), "400 Gb/s", 50e9),
        (Measure("fraction", high=1.0), "85 %", 0.85),
        (Measure("fraction", high=1.0), "1/10", 0.1),
        (Measure("", whole=True), "1_250", 1250),
        (Measure("", words=("GPUs on average",)), "90 GPUs on average", 90.0),
        (Measure("", low=-1.0, high=1.0), "-0.5", -0.5),
    ],
)
def test_measures(measure, said, value):
    read = measure.read(said)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.3, "", "1.3"),
        (2.5e12, "", "2.5 T"),
        (0.25, "", "0.25"),
        (1.118, "ratio", "1.118"),
        (0.005, "fraction", "0.5 %"),
        (0.001, "s", "1 ms"),
        (1e-5, "s", "0.01 ms"),
        (45.0, "W", "45 W"),
    ],
)
def test_values_are_written_in_the_nicest_unit(value, unit, text):
    assert spelled(value, unit) == text
    assert parse(text, unit) == value


@pytest.mark.parametrize(
    ("measure", "said", "words"),
    [
        (Measure("s"), "30", "'30' has no unit"),
        (Measure("s", above=True), "0 s", "must be above 0 s"),
        (Measure("W"), "-1 W", "must be at least 0 W"),
        (Measure("", high=3.0, whole=True), "4", "must be at most 3"),
        (Measure("", whole=True), "2.5", "must be a whole number"),
        (Measure("", whole=True), [1], "expected a whole number, got a list"),
        (Measure("W"), {"a": 1}, "expected a number with a unit of W, got a mapping"),
        (Measure("W"), None, "got nothing"),
        (Measure("W"), True, "got True"),
        (Measure("W"), math.nan, "must be a finite number"),
        (Measure("W"), math.inf, "must be a finite number"),
        (Measure(""), "", "is not a number"),
    ],
)
def test_measures_refuse(measure, said, words):
    assert words in refusal(lambda: measure.read(said))


@pytest.mark.parametrize(
    ("said", "value"), [("1:1", 1.0), ("1:7", 7.0), ("7 : 1", 7.0), ("1:1.5", 1.5), (2.0, 2.0)]
)
def test_ratios(said, value):
    assert Ratio.read(said) == value


@pytest.mark.parametrize("said", ["7", "1:0", "1:", "a:b", "1:7:2", None, "-1:2"])
def test_ratios_refuse(said):
    assert "ratio" in refusal(lambda: Ratio.read(said))


def test_flags_are_true_and_false_only():
    assert (Flag.read("true"), Flag.read("false"), Flag.read(True)) == (True, False, True)
    for said in ("yes", "on", "1", "True", None, 1):
        assert "expected true or false" in refusal(lambda said=said: Flag.read(said))


def test_a_horizon_is_a_duration_or_until_done():
    assert Horizon.read("14 d") == 14 * 86400.0
    assert Horizon.read("until  done") is None
    assert "above 0 s" in refusal(lambda: Horizon.read("0 s"))
    assert "not a number" in refusal(lambda: Horizon.read("until tired"))


def test_moments_are_dates_of_the_scenarios_clock_or_spans():
    calendar = Calendar.from_text("2024-03-04 00:00 Europe/Berlin")
    info = SimpleNamespace(context=SimpleNamespace(calendar=calendar))
    assert Moment.read("2024-03-04 06:00", info) == 21600.0
    assert Moment.read("2024-03-04T05:00Z", info) == 21600.0
    assert Moment.read("36 h", info) == 36 * 3600.0
    # Clocks go forward on 31 March: that day has 23 hours.
    assert Moment.read("2024-04-01 00:00", info) - Moment.read("2024-03-31 00:00", info) == 23 * 3600.0
    assert "not a moment" in refusal(lambda: Moment.read("soon", info))


@pytest.mark.parametrize("name", ["a", "vcvGl", "h100", "small-lab", "a_b", "0a", "x+y"])
def test_names(name):
    assert Text(is_name=True).read(name) == name


@pytest.mark.parametrize("name", ["", " ", "a.b", "a b", "7", "-a", "ä", "a/b", "a:b"])
def test_names_that_would_break_dotted_keys_are_refused(name):
    assert refusal(lambda: Text(is_name=True).read(name))


def test_paths_begin_at_the_file_that_names_them(tmp_path):
    said = Said.at("../w.epw", Place("x.yaml", tmp_path / "sub"))
    assert File.read(said) == str(tmp_path / "w.epw")
    assert File.read("/abs/w.epw") == "/abs/w.epw"
    assert "not a path" in refusal(lambda: File.read("a\0b"))


@pytest.mark.parametrize(
    "text",
    ["2024-03-04 00:00 Europe/Berlin", "2024-03-04 UTC", "2024-03-04T00:00Z", "2024-03-04T00:00+01:00",
     "2024-03-04 00:00 Etc/GMT+5"],
)  # fmt: skip
def test_a_start_names_its_zone(text):
    assert ReadsStart.read(text).text == text


@pytest.mark.parametrize("text", ["2024-03-04", "2024-03-04 00:00", "2024-03-04T00:00:00"])
def test_a_start_without_a_zone_is_refused(text):
    assert "names no time zone" in refusal(lambda: ReadsStart.read(text))


def test_a_scenario_can_be_sent_to_another_process(small):
    scenario = load_text(small)
    again = pickle.loads(pickle.dumps(scenario))
    assert again.resolved() == scenario.resolved()
    assert again.catalog.node("hgx-h100-8") == scenario.catalog.node("hgx-h100-8")
