"""The report: one file that needs nothing else and leaves nothing out silently."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from analysis.chapters import CHAPTERS
from analysis.numerals import digits
from analysis.page import table
from analysis.report import write_report
from simulator.results import execute
from simulator.scenario import load_text

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Checker(HTMLParser):
    """Collects ids, links, whatever is fetched, and whether tags nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "xlink:href"):
                (self.links if tag == "a" else self.fetched).append(value)
            if name in ("src", "srcset", "data", "action"):
                self.fetched.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag


def checked(text: str) -> Checker:
    found = Checker()
    found.feed(text)
    found.close()
    assert found.open == []
    return found


@pytest.fixture(scope="module")
def report(campus_run):
    return write_report(campus_run)


def test_the_report_needs_nothing_else(report):
    text = report.read_text(encoding="utf-8")
    found = checked(text)
    assert all(value.startswith("#") for value in found.fetched)
    assert not {"script", "link", "img", "iframe", "object"} & set(found.tags)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert len(found.ids) == len(set(found.ids))
    for link in found.links:
        if link.startswith("#"):
            assert link[1:] in found.ids
        else:
            assert (report.parent / link).is_file(), link


def test_every_chapter_and_figure_is_there(report):
    found = checked(report.read_text(encoding="utf-8"))
    assert set(CHAPTERS) <= set(found.ids)
    assert found.tags.count("svg") == 11
    assert found.tags.count("h1") == 1
    assert found.tags.count("main") == 1
    files = {path.name for path in (report.parent / "figures").iterdir()}
    assert len(files) == 33


def test_the_report_is_written_whole_and_the_same_again(campus_run, report):
    before = report.read_bytes()
    assert write_report(campus_run).read_bytes() == before
    assert not [path for path in campus_run.path.iterdir() if path.name.startswith(".")]
    assert str(campus_run.path).encode() not in before


def test_the_answer_holds_the_numbers(campus_run, report):
    text = report.read_text(encoding="utf-8")
    assert f"{campus_run.summary['facility_energy_mwh']:.1f} MWh" in text
    assert f"{100 * campus_run.summary['productive_fraction']:.1f} %" in text
    assert "limit on pue is not met" in text
    assert '<span class="bad">FAIL</span>' in text
    assert '<span class="good">PASS</span>' in text
    assert campus_run.hash in text


UNPRICED = """
title: A hall whose energy nobody priced, cooled by a published PUE
start: 2024-03-04 00:00 UTC
duration: 12 h
sites:
  - name: hall
    grid: {intensity: 400 g/kWh}
    cooling: {plant: constant-pue, pue: 1.1}
    pools: [{name: h100, node: hgx-h100-8, nodes: 4}]
failures: none
workloads:
  - {name: fed, kind: training, model: llama-3.1-8b, tokens: 1 T, gpus: 16, mfu: 40 %, power_per_gpu: 900 W}
  - {name: own, kind: training, model: llama-3.1-8b, tokens: 1 T, gpus: 16, mfu: 40 %}
"""


def test_whose_watts_and_what_is_unknown_is_said_and_not_nil(tmp_path):
    run = execute(load_text(UNPRICED, name="hall.yaml"), out=tmp_path / "run")
    text = write_report(run).read_text(encoding="utf-8")
    checked(text)
    fed, own = run.closing_data()["training"]
    for job, words in ((fed, "given"), (own, "modelled")):
        row = re.search(rf'<th scope="row">{job["job"]}</th><td>{words}</td>(.*?)</tr>', text)
        assert row
        assert [f"{job['it_w_per_gpu']:.0f}", digits(job["facility_energy_mwh"])] == re.findall(
            r">([\d.,]+)</td>", row[1]
        )[:2]
        assert "n/a" in row[1]  # its cost
    assert "The cost is unknown: energy has no price." in text
    assert "unknown: no price" in text
    site = re.search(r'<th scope="row">hall</th>((?:<td class="n">[^<]*</td>)+)</tr>', text)
    assert site
    # IT, meter, PUE, WUE
    assert re.findall(r">([^<]*)</td>", site[1])[2:4] == ["1.100", "n/a"]
    assert ">nan" not in text


def test_a_run_without_services_and_training_says_so(make_run):
    run = make_run("bare", days=0.5, service=False, training=False, marginal=False)
    text = write_report(run).read_text(encoding="utf-8")
    checked(text)
    assert "The scenario has no training job." in text
    assert "no services, so no request was answered" in text
    assert text.count("<svg") == 7
    assert ">None<" not in text
    assert ">nan" not in text


def test_a_long_run_is_told_by_local_month(make_run):
    """The run begins on 4 March at 00:00 in Berlin, which is still 3 March in UTC."""
    run = make_run("long", days=60.0, service=False, training=False, research=False)
    text = write_report(run).read_text(encoding="utf-8")
    months = re.findall(r'<th scope="row">(\d{4}-\d{2})</th><td class="n">([\d.,]+)</td>', text)
    assert [month for month, _ in months] == ["2024-03", "2024-04", "2024-05"]
    whole = sum(float(energy.replace(",", "")) for _, energy in months)
    assert whole == pytest.approx(run.summary["facility_energy_mwh"], rel=1e-3)


def test_words_of_a_scenario_cannot_break_the_page():
    said = table(["<b>", "n"], [["<script>alert(1)</script>", '"x" & y']])
    assert "<script>" not in said
    assert "&lt;script&gt;" in said
    assert "&quot;x&quot; &amp; y" in said
