"""The progress bar: simulated date and share on a terminal, silence anywhere else."""

from __future__ import annotations

import io
import logging

import pytest

from simulator.cli import progress as module
from simulator.cli.progress import progress_bar
from simulator.scenario import load


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_sees_date_and_share(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(module, "_REDRAW_S", 0.0)
    with progress_bar(load("quickstart"), shown=True) as progress:
        progress(0.0)
        progress(7 * 86400.0)
    text = terminal.getvalue()
    assert "2024-03-04 00:00" in text
    assert "2024-03-11 00:00" in text
    assert " 50%" in text
    assert "left" in text


def test_a_run_without_a_known_end_shows_the_date_alone(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(module, "_REDRAW_S", 0.0)
    with progress_bar(load("training/gpt3-2020"), shown=True) as progress:
        progress(3600.0)
    assert "2020-01-06 01:00" in terminal.getvalue()
    assert "%" not in terminal.getvalue()


def test_it_is_not_drawn_more_often_than_people_can_see(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress_bar(load("quickstart"), shown=True) as progress:
        for second in range(10_000):
            progress(float(second))
    assert terminal.getvalue().count("2024-03-04") < 20


def test_files_pipes_and_quiet_runs_see_nothing(monkeypatch):
    for stream, shown in ((io.StringIO(), True), (Terminal(), False)):
        monkeypatch.setattr("sys.stderr", stream)
        with progress_bar(load("quickstart"), shown=shown) as progress:
            assert progress is None
        assert stream.getvalue() == ""


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_what_the_simulator_says_is_a_line_on_stderr(monkeypatch, kind):
    stream = kind()
    monkeypatch.setattr("sys.stderr", stream)
    with progress_bar(load("quickstart"), shown=True):
        logging.getLogger("simulator.serving").info("compiling")
    logging.getLogger("simulator.serving").info("later")
    assert "compiling\n" in stream.getvalue()
    assert "later" not in stream.getvalue()


def test_a_quiet_run_says_nothing(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    with progress_bar(load("quickstart"), shown=False):
        logging.getLogger("simulator.serving").info("compiling")
    assert stream.getvalue() == ""
