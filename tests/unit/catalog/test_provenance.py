"""Every value of every shipped entry can be defended: it has a source, a date, a basis and a sane range."""

from __future__ import annotations

import re

import pytest

from simulator.catalog.entries import KINDS
from simulator.catalog.provenance import BASES, SCENARIO, Provenance
from simulator.catalog.shelf import Catalog

CATALOG = Catalog.shipped()
ENTRIES = [(kind, name) for kind in KINDS for name in CATALOG.names(kind)]


def values() -> list[Provenance]:
    return [value for kind, name in ENTRIES for value in CATALOG.values(kind, name)]


@pytest.mark.parametrize(("kind", "name"), ENTRIES, ids=lambda x: x)
def test_every_value_has_a_source_with_a_date_and_a_basis(kind: str, name: str) -> None:
    found = CATALOG.values(kind, name)
    assert found
    for value in found:
        where = f"{kind}.{name}.{value.field}"
        assert value.source in CATALOG.sources(), where
        assert value.source != SCENARIO, where
        assert re.match(r"20[0-2]\d(-[01]\d)?(-[0-3]\d)?$", value.date), f"{where}: date {value.date!r}"
        assert value.basis in BASES, where
        assert value.title, where


def test_a_value_lies_within_its_range() -> None:
    ranged = [v for v in values() if v.low is not None or v.high is not None]
    assert len(ranged) > 150
    for value in ranged:
        where = f"{value.kind}.{value.name}.{value.field}: {value.low} <= {value.value} <= {value.high}"
        assert value.value is not None, where
        if value.low is not None:
            assert value.low <= value.value, where
        if value.high is not None:
            assert value.value <= value.high, where


def test_a_guess_says_its_grounds() -> None:
    """Our own judgement carries a note: nobody can look it up elsewhere."""
    for value in values():
        if value.source == "datahall-estimate" and value.field != "title" and isinstance(value.value, float):
            assert value.note or value.low is not None, f"{value.kind}.{value.name}.{value.field}"


def test_our_own_judgement_is_never_called_measured_or_vendor() -> None:
    for value in values():
        if value.source.startswith("datahall"):
            assert value.basis == "estimate", f"{value.kind}.{value.name}.{value.field}"


def test_every_source_is_used() -> None:
    used = {value.source for value in values()}
    assert sorted(set(CATALOG.sources()) - used) == []


def test_where_one_value_comes_from() -> None:
    value = CATALOG.provenance("gpus", "h100-sxm", "memory_bandwidth_bytes_per_s")
    assert (value.value, value.unit, value.written) == (3.35e12, "bytes/s", "3.35 TB/s")
    assert (value.source, value.date, value.basis) == ("nvidia-h100", "2023-03", "vendor")
    part = CATALOG.provenance("failures", "llama3-2024", "causes.hbm3-memory.repair_s")
    assert (part.value, part.low, part.high) == (86400.0, 7200.0, 604800.0)
    assert part.basis == "estimate"
    assert CATALOG.provenance("grids", "DE", "mix.coal").basis == "measured"


def test_a_table_is_told_by_its_shape() -> None:
    assert CATALOG.provenance("grids", "DE", "fuel_shapes.solar").value == "12x24 table"
