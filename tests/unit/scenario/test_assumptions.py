"""The ledger of assumptions: complete, with the right origin, and usable on the command line."""

from __future__ import annotations

import csv
import io

from simulator.catalog.provenance import BASES
from simulator.scenario import load, load_text
from simulator.scenario.assumptions import as_csv_text, as_table, assumptions


def rows_of(scenario):
    return {row.key: row for row in assumptions(scenario)}


def test_every_value_says_who_set_it(small):
    rows = rows_of(load_text(small))
    assert rows["sites.campus.pools.h100.nodes"].origin == "you"
    assert rows["sites.campus.pools.h100.nodes"].value == 8
    assert rows["sites.campus.cooling.supply_temperature"].origin == "you"
    assert rows["sites.campus.grid.name"].origin == "you"
    assert rows["workloads.research.tenants.vision"].origin == "you"
    assert rows["seed"].origin == "default"
    assert rows["workloads.chat.cold_start.total"].origin == "default"
    assert rows["workloads.chat.cold_start.total"].value == 120.0
    assert rows["workloads.chat.cold_start.total"].unit == "s"
    assert rows["sites.campus.interconnection.limit"].unit == "W"


def test_catalog_values_carry_source_date_and_basis(small):
    rows = rows_of(load_text(small))
    tdp = rows["catalog.gpus.h100-sxm.tdp"]
    assert (tdp.value, tdp.unit, tdp.origin) == (700.0, "W", "preset")
    for row in rows.values():
        if row.origin == "preset" and row.key.startswith("catalog."):
            assert row.source, row.key
            assert row.date, row.key
            assert row.basis in BASES, row.key


def test_a_catalog_value_that_the_scenario_gives_is_yours(small):
    rows = rows_of(load_text(small, ["catalog.nodes.hgx-h100-8.host_idle=1 kW"]))
    assert rows["catalog.nodes.hgx-h100-8.host_idle"].origin == "you"
    assert rows["catalog.nodes.hgx-h100-8.host_idle"].value == 1000.0
    assert rows["catalog.nodes.hgx-h100-8.host_active"].origin == "preset"


def test_every_entry_in_use_is_listed_and_no_other(small):
    kinds = {row.key.split(".")[1] for row in assumptions(load_text(small)) if row.key.startswith("catalog.")}
    assert {"nodes", "gpus", "grids", "climates", "tariffs", "chains", "models", "engines", "shapes",
            "lengths", "mixes", "factors", "water", "costs"} <= kinds  # fmt: skip
    assert "failures" not in kinds
    assert not any("b200" in row.key for row in assumptions(load_text(small)))


def test_keys_are_named_once():
    keys = [row.key for row in assumptions(load("quickstart"))]
    assert len(keys) == len(set(keys))


def test_a_listed_default_can_be_set_by_its_key(small):
    """The key in the ledger is the key on the command line."""
    for key, text, value in (
        ("workloads.chat.cold_start.total", "3 min", 180.0),
        ("sites.campus.cooling.pump", "4 %", 0.04),
        ("books.water.factors", "macknick-2012-with-reservoirs", "macknick-2012-with-reservoirs"),
    ):
        assert rows_of(load_text(small))[key].origin == "default"
        row = rows_of(load_text(small, [f"{key}={text}"]))[key]
        assert (row.value, row.origin) == (value, "you")


def test_csv_holds_the_same_rows(small):
    scenario = load_text(small)
    read = list(csv.DictReader(io.StringIO(as_csv_text(scenario))))
    assert [row["key"] for row in read] == [row.key for row in assumptions(scenario)]
    assert list(read[0]) == ["key", "value", "unit", "origin", "source", "date", "basis", "low", "high"]


def test_the_table_counts_and_begins_with_what_nobody_set(small):
    scenario = load_text(small)
    lines = as_table(scenario).splitlines()
    nobody = sum(row.origin == "default" for row in assumptions(scenario))
    assert f"{nobody} defaults that nobody set" in lines[0]
    assert lines[2] == "Defaults that nobody set"
