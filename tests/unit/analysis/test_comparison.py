"""Runs side by side: changes, and the accounts that explain them."""

from __future__ import annotations

import pytest

from analysis.comparison import compare
from simulator.foundation.errors import RunFolderError


def test_a_cleaner_grid_changes_carbon_and_says_it_was_the_grid(campus_run, make_run):
    found = compare([campus_run, make_run("fr", grid_factor=0.1)])
    changed = {row.name for row in found.rows if row.changed}
    assert changed == {"location_tco2e", "market_tco2e"}
    (carbon,) = [row for row in found.rows if row.name == "location_tco2e"]
    assert carbon.change(1) == pytest.approx(-0.88, abs=0.05)
    assert any("energy is the same" in reason for reason in found.reasons)
    (reason,) = [reason for reason in found.reasons if "location-based carbon" in reason]
    assert "0 t by energy" in reason
    assert any("cost is the same in every part" in reason for reason in found.reasons)
    assert any("waiting is the same" in reason for reason in found.reasons)
    text = "\n".join(found.lines())
    assert "same scenario" in text
    assert f"{len(found.rows) - 2} of {len(found.rows)} numbers are the same" in text
    assert "p95_wait_s" not in text


def test_parts_of_a_change_add_up(campus_run, make_run):
    other = make_run("short", days=3.0)
    found = compare([campus_run, other])
    assert ("duration_s", (str(14 * 86400.0), str(3 * 86400.0))) in found.differences
    (reason,) = [
        reason for reason in found.reasons if reason.startswith("short against quickstart-3f9a2c: energy")
    ]
    numbers = [
        float(word.replace(",", "")) for word in reason.split() if word[0] in "+-" and word[1].isdigit()
    ]
    whole, by_it, by_plant = numbers
    assert whole == pytest.approx(by_it + by_plant, rel=0.02)


def test_a_run_against_itself_is_the_same(campus_run):
    found = compare([campus_run, campus_run])
    assert not [row for row in found.rows if row.changed]
    assert found.reasons == (
        "quickstart-3f9a2c (2) against quickstart-3f9a2c (1): every number of the summary is the same.",
    )


def test_numbers_that_one_run_lacks_are_shown_as_missing(campus_run, make_run):
    found = compare([campus_run, make_run("bare", service=False, training=False)])
    text = "\n".join(found.lines())
    assert "n/a" in text
    html = found.html()
    assert "chat.ttft_p99_s" in html
    assert "http" not in html.replace("http-equiv", "")


def test_one_run_is_no_comparison(campus_run):
    with pytest.raises(RunFolderError, match="at least two"):
        compare([campus_run])
