"""The eight figures: what they show equals the tables, and they are the same every time."""

from __future__ import annotations

import csv
import io
import re
import shutil
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from analysis.drawing import Drawing, Missing, csv_text, house_style, inline_svg, png_bytes, save, svg_text
from analysis.figures import FIGURES
from analysis.figures.carbon import by_workload
from analysis.figures.power import peak_mean
from analysis.palette import COMPONENTS, REASONS, STATES
from simulator.foundation import StepSeries
from simulator.results import Run
from simulator.results.parquet import ParquetSink
from simulator.telemetry import WAIT_REASONS


@pytest.fixture(scope="module")
def drawings(campus_run):
    with house_style():
        return {name: draw(campus_run) for name, draw in FIGURES.items()}


def behind(drawing: Drawing) -> dict[str, list[str]]:
    rows = list(csv.reader(io.StringIO(csv_text(drawing))))
    return {name: [row[place] for row in rows[1:]] for place, name in enumerate(rows[0])}


def floats(column: list[str]) -> np.ndarray:
    return np.array([float(cell) if cell else np.nan for cell in column])


def test_there_are_eleven(drawings):
    assert list(drawings) == [
        "occupancy", "queue", "waterfall", "gpu_time", "step", "distribution", "latency", "power",
        "load_duration", "carbon", "cost",
    ]  # fmt: skip
    assert not [name for name, drawing in drawings.items() if isinstance(drawing, Missing)]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_complete_and_the_same_every_time(campus_run, drawings, name, tmp_path):
    drawing = drawings[name]
    svg = svg_text(drawing)
    with house_style():
        again = FIGURES[name](campus_run)
    assert isinstance(again, Drawing)
    assert svg_text(again) == svg
    assert png_bytes(again) == png_bytes(drawing)
    assert csv_text(again) == csv_text(drawing)
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert "dc:date" not in svg
    assert drawing.caption
    assert drawing.alternative
    save(drawing, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.csv", f"{name}.png", f"{name}.svg"]
    # A line drawn change by change for years would choke a browser.
    assert len(svg) < 700_000


@pytest.mark.parametrize("name", FIGURES)
def test_units_stand_in_every_column_behind_a_figure(drawings, name):
    words = {
        "start_utc",
        "layout",
        "step",
        "job",
        "use",
        "service",
        "tier",
        "metric",
        "local_hour",
        "workload",
        "kind",
        "name",
    }
    units = (
        "_s",
        "_w",
        "_gpus",
        "_hours",
        "_mwh",
        "_tco2e",
        "_usd",
        "_g_per_kwh",
        "_fraction",
        "_h",
        "requests",
    )
    assert [
        column for column in drawings[name].data if column not in words and not column.endswith(units)
    ] == []


def test_occupancy_fills_the_fleet_at_every_moment(drawings):
    columns = behind(drawings["occupancy"])
    states = [floats(values) for name, values in columns.items() if name.endswith("_gpus")]
    assert sum(states) == pytest.approx(512.0, rel=1e-8)  # nine digits are written


def test_the_waterfall_ends_at_productive_hours(campus_run, drawings):
    columns = behind(drawings["waterfall"])
    left = dict(zip(columns["step"], floats(columns["left_gpu_hours"]), strict=True))
    jobs = campus_run.table("jobs")
    assert left["productive"] == pytest.approx(sum(jobs.column("productive_gpu_seconds").to_pylist()) / 3600)
    assert left["provided"] == 512 * 14 * 24
    real = [
        held
        for held, kind in zip(
            jobs.column("gpu_seconds").to_pylist(), jobs.column("kind").to_pylist(), strict=True
        )
        if kind != "idle"
    ]
    assert left["allocated"] == pytest.approx(sum(real) / 3600)


def test_power_keeps_energy_and_peak(campus_run, drawings):
    columns = behind(drawings["power"])
    total = sum(
        floats(values) for name, values in columns.items() if name.endswith("_w") and "highest" not in name
    )
    starts = floats(columns["start_s"])
    energy = float(total @ np.diff(np.append(starts, campus_run.horizon_s))) / 3.6e9
    assert energy == pytest.approx(campus_run.summary["facility_energy_mwh"], rel=1e-6)
    highest = floats(columns["highest_total_w"])
    assert highest.max() == pytest.approx(campus_run.summary["peak_facility_power_w"], rel=1e-6)
    assert (highest >= total - 1e-3).all()


def test_the_fifteen_minute_peak_by_hand():
    """1 kW, but 3 kW from 10 to 20 minutes: quarter hours of 1.667 and 1.667 kW, then 1 kW."""
    watts, begin = peak_mean(StepSeries([0.0, 600.0, 1200.0], [1000.0, 3000.0, 1000.0], 3600.0))
    assert watts == pytest.approx(1000 + 2000 * 300 / 900)
    assert begin == 0.0
    # The last half minute at 9 kW is no quarter of an hour.
    watts, _ = peak_mean(StepSeries([0.0, 1800.0], [1000.0, 9000.0], 1830.0))
    assert watts == 1000.0


def test_load_duration_falls_and_spans_the_run(campus_run, drawings):
    columns = behind(drawings["load_duration"])
    meter = floats(columns["facility_w"])
    assert (np.diff(meter) <= 0).all()
    assert (meter >= floats(columns["it_w"])).all()
    assert floats(columns["at_least_for_h"])[-1] == pytest.approx(campus_run.horizon_s / 3600)


def test_latency_is_the_percentile_of_the_requests_of_that_hour(campus_run, drawings):
    columns = behind(drawings["latency"])
    rows = campus_run.table("requests").to_pylist()
    zone_hours = {row["request_id"]: campus_run.calendar.local(row["arrived_s"]).hour for row in rows}
    mine = sorted(
        row["ttft_s"] for row in rows if row["tier"] == "standard" and zone_hours[row["request_id"]] == 14
    )
    (place,) = [
        place
        for place, (tier, hour) in enumerate(zip(columns["tier"], columns["local_hour"], strict=True))
        if (tier, hour) == ("standard", "14")
    ]
    assert float(columns["requests"][place]) == len(mine)
    assert float(columns["ttft_p50_s"][place]) == pytest.approx(mine[int(np.ceil(0.5 * len(mine))) - 1])
    assert float(columns["ttft_p99_s"][place]) == pytest.approx(mine[int(np.ceil(0.99 * len(mine))) - 1])


def test_a_p99_of_few_requests_is_left_out(drawings):
    columns = behind(drawings["latency"])
    few = floats(columns["requests"]) < 100
    assert few.any()
    assert np.isnan(floats(columns["ttft_p99_s"])[few]).all()


def test_workloads_add_up_to_the_meter(campus_run, drawings):
    groups = by_workload(campus_run)
    assert list(groups) == ["pretrain-8b", "small-lab", "speech", "vision", "chat", "idle"]
    energy = sum(group["energy_mwh"] for group in groups.values())
    assert energy == pytest.approx(campus_run.summary["facility_energy_mwh"], rel=1e-9)
    columns = behind(drawings["carbon"])
    hours = [place for place, name in enumerate(columns["workload"]) if not name]
    assert sum(float(columns["location_tco2e"][place]) for place in hours) == pytest.approx(
        campus_run.summary["location_tco2e"], rel=1e-6
    )


def test_many_workloads_are_gathered(campus_run):
    groups = by_workload(campus_run, most=3)
    assert list(groups) == ["pretrain-8b", "small-lab", "3 others", "idle"]
    whole = by_workload(campus_run)
    assert sum(g["cost_usd"] for g in groups.values()) == pytest.approx(
        sum(g["cost_usd"] for g in whole.values())
    )


def test_costs_are_those_of_the_books(campus_run, drawings):
    columns = behind(drawings["cost"])
    parts = {
        name: float(usd)
        for kind, name, usd in zip(columns["kind"], columns["name"], columns["cost_usd"], strict=True)
        if kind == "part"
    }
    assert parts == pytest.approx(campus_run.provenance["books"]["cost_usd"])
    assert "EUR" in drawings["cost"].caption


def test_the_bars_of_a_step_are_its_parts(drawings):
    columns = behind(drawings["step"])
    assert columns["layout"] == ["tp2 dp64 mb1 zero1", "tp4 dp32 mb1 zero1"]
    parts = [name for name in columns if name.endswith("_s")]
    assert sum(floats(columns[name])[0] for name in parts) == pytest.approx(2.0)
    assert "80 % of a step of 2 s" in drawings["step"].caption


def test_a_figure_that_a_run_cannot_have_says_why(make_run):
    run = make_run("bare", days=1, service=False, training=False, research=False)
    with house_style():
        found = {name: draw(run) for name, draw in FIGURES.items()}
    reasons = {name: drawing.reason for name, drawing in found.items() if isinstance(drawing, Missing)}
    assert "no services" in reasons.pop("latency")
    assert "no services" in reasons.pop("distribution")
    assert "nothing queues" in reasons.pop("queue")
    assert "no training job" in reasons.pop("gpu_time")
    assert "its MFU was given" in reasons.pop("step")
    assert reasons == {}
    alone = make_run("alone", days=1, service=False, research=False)
    with house_style():
        queue = FIGURES["queue"](alone)
    assert isinstance(queue, Missing)
    assert queue.reason == "No job waited."


def test_a_service_without_single_requests_is_drawn_from_its_hours(campus_run, tmp_path):
    """A fluid service leaves no row a request; its hours still tell the shape of the day."""
    folder = tmp_path / "fluid"
    shutil.copytree(campus_run.path, folder)
    (folder / "requests.parquet").unlink()
    (tmp_path / "empty").mkdir()
    sink = ParquetSink(tmp_path / "empty")
    sink.close()
    shutil.copy(tmp_path / "empty" / "requests.parquet", folder)
    with house_style():
        drawing = FIGURES["latency"](Run(folder))
    assert isinstance(drawing, Drawing)
    assert drawing.source == "services_hourly.parquet"
    assert "not kept one by one" in drawing.caption
    columns = behind(drawing)
    assert set(columns["tier"]) == {"premium", "standard"}
    hourly = campus_run.table("services_hourly").to_pylist()
    mine = [
        (row["ttft_p50_s"], row["requests"])
        for row in hourly
        if row["tier"] == "standard" and campus_run.calendar.local(row["hour_start_s"]).hour == 14
    ]
    (place,) = [
        place
        for place, (tier, hour) in enumerate(zip(columns["tier"], columns["local_hour"], strict=True))
        if (tier, hour) == ("standard", "14")
    ]
    assert float(columns["requests"][place]) == sum(requests for _, requests in mine)
    assert min(mine)[0] <= float(columns["ttft_p50_s"][place]) <= max(mine)[0]


def test_inline_figures_share_no_names(drawings):
    page = "".join(inline_svg(drawing, svg_text(drawing)) for drawing in drawings.values())
    names = re.findall(r'\bid="([^"]*)"', page)
    assert len(names) == len(set(names))
    for target in re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', page):
        assert (target[0] or target[1]) in names
    assert page.count('role="img"') == len(drawings)
    assert page.count("<title>") == len(drawings)


def test_everything_with_a_fixed_meaning_has_its_own_colour():
    assert set(WAIT_REASONS) <= set(REASONS)
    for table in (STATES, COMPONENTS, REASONS):
        assert len(set(table.values())) == len(table)
