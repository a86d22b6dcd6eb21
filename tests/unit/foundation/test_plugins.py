from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest

from simulator.foundation import (
    Count,
    Fraction,
    PolicyError,
    Seconds,
    UnknownNameError,
    Watts,
    fields_of,
    find,
    quantity,
    units,
    yaml_key,
)
from simulator.foundation.plugins import SUFFIXES


@dataclass(frozen=True)
class Patient:
    limit_w: Annotated[Watts, "What the meter may show."]
    patience_s: Annotated[Seconds, "Waiting longer than this goes first."] = 60.0
    share_fraction: Annotated[Fraction | None, "Of the fleet."] = None
    retries: Annotated[Count, "How often."] = 3
    mode: Annotated[str, "Which way."] = "soft"
    names: Annotated[tuple[str, ...], "Who."] = ()
    options: dict[str, int] = field(default_factory=dict)
    inner: int = field(init=False, default=0)


def test_fields_tell_their_unit_meaning_default_and_type():
    found = {info.name: info for info in fields_of(Patient)}
    assert list(found) == ["limit_w", "patience_s", "share_fraction", "retries", "mode", "names", "options"]
    assert (found["limit_w"].unit, found["limit_w"].required, found["limit_w"].key) == ("W", True, "limit")
    assert (found["patience_s"].unit, found["patience_s"].default) == ("s", 60.0)
    assert found["patience_s"].meaning == "Waiting longer than this goes first."
    share = found["share_fraction"]
    assert (share.unit, share.optional, share.required, share.key) == ("fraction", True, False, "share")
    assert share.type == float | None
    assert (found["retries"].unit, found["retries"].type) == ("", int)
    assert (found["mode"].unit, found["mode"].type, found["mode"].meaning) == (None, str, "Which way.")
    assert found["names"].type == tuple[str, ...]
    assert found["options"].default == {}


def test_what_is_no_dataclass_has_no_fields():
    for wrong in (int, Patient(1.0), "x"):
        with pytest.raises(TypeError, match="is not a dataclass"):
            fields_of(wrong)


@pytest.mark.parametrize(
    ("name", "unit", "key"),
    [
        ("patience_s", None, "patience"),
        ("link_bytes_per_s", None, "link"),
        ("price_usd_per_kwh", None, "price"),
        ("ramp_w_per_s", "W/s", "ramp"),
        ("gpus", "", "gpus"),
        ("top_k", "", "top_k"),
        ("mode", None, "mode"),
        ("_s", None, "_s"),
    ],
)
def test_keys_lose_the_unit_and_nothing_else(name, unit, key):
    assert yaml_key(name, unit) == key


def test_every_base_unit_has_its_suffix_and_every_quantity_type_its_base_unit():
    assert set(SUFFIXES) == set(units._TABLES)
    kinds = [kind for kind in vars(quantity).values() if getattr(kind, "__metadata__", None)]
    assert len(kinds) > 25
    for kind in kinds:
        assert kind.__metadata__[0].unit in units._TABLES


def test_a_name_is_found_or_the_nearest_is_given():
    table: dict[str, type] = {"patient": Patient}
    assert find(table, "patient", "policy") is Patient
    with pytest.raises(UnknownNameError) as refused:
        find(table, "patiend", "policy", seam="scheduling")
    assert str(refused.value) == "unknown policy 'patiend'\n    did you mean 'patient'? known: patient"


def test_a_class_from_a_file_is_found(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from typing import Annotated\n"
        "from simulator.foundation import Seconds\n"
        "@dataclass(frozen=True)\n"
        "class Mine:\n"
        "    delay_s: Annotated[Seconds, 'How long.'] = 2.0\n"
        "class Other: pass\n"
    )
    mine = find({}, "mine.py:Mine", "policy", folder=tmp_path)
    assert fields_of(mine)[0].unit == "s"
    with pytest.raises(UnknownNameError, match="no class 'Mime'\n    did you mean 'Mine'"):
        find({}, "mine.py:Mime", "policy", folder=tmp_path)
    with pytest.raises(PolicyError, match="must be a dataclass"):
        find({}, "mine.py:Other", "policy", folder=tmp_path)
    with pytest.raises(UnknownNameError, match="no such file"):
        find({}, "none.py:Mine", "policy", folder=tmp_path)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(PolicyError, match="ZeroDivisionError"):
        find({}, "broken.py:Mine", "policy", folder=tmp_path)


class _Point:
    """Stands in for an installed entry point."""

    name = "outside"

    def __init__(self, found: Any) -> None:
        self.found = found

    def load(self) -> Any:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def test_an_installed_entry_point_adds_a_row(monkeypatch):
    asked = []

    def entry_points(*, group):
        asked.append(group)
        return [_Point(Patient)]

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    assert find({}, "outside", "policy", seam="scheduling") is Patient
    assert asked == ["datahall.scheduling"]
    with pytest.raises(UnknownNameError, match="unknown policy 'outside'"):
        find({}, "outside", "policy")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: [_Point(ImportError("no numpy"))])
    with pytest.raises(PolicyError, match="cannot be imported: no numpy"):
        find({}, "outside", "policy", seam="scheduling")


def test_a_missing_default_is_not_none():
    assert fields_of(Patient)[0].default is dataclasses.MISSING
