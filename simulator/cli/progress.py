"""The bar of a running simulation: simulated date, share done, time left."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from simulator.scenario import Scenario

Progress = Callable[[float], None]

#: Redrawing more often is only flicker.
_REDRAW_S: Final = 0.2


@contextmanager
def progress_bar(scenario: Scenario, *, shown: bool) -> Iterator[Progress | None]:
    """Give a function that the engine calls with the simulated time; None without a terminal.

    Parameters
    ----------
    scenario
        What is run; without a duration the bar shows the date alone.
    shown
        Whether a bar is wanted at all.
    """
    if not shown:
        yield None
        return
    if not sys.stderr.isatty():
        with said(lambda line: print(line, file=sys.stderr, flush=True)):
            yield None
        return
    from tqdm import tqdm

    calendar, duration_s = scenario.calendar, scenario.duration_s
    bar = tqdm(
        total=duration_s,
        file=sys.stderr,
        leave=False,
        bar_format="{desc} {percentage:3.0f}%|{bar}| {remaining} left" if duration_s else "{desc} {elapsed}",
    )
    drawn_s = -_REDRAW_S

    def progress(now_s: float) -> None:
        nonlocal drawn_s
        if time.monotonic() - drawn_s < _REDRAW_S:
            return
        drawn_s = time.monotonic()
        bar.n = now_s
        bar.set_description_str(f"{calendar.local(now_s):%Y-%m-%d %H:%M}", refresh=True)

    with bar, said(lambda line: bar.write(line, file=sys.stderr)):
        yield progress


class _Lines(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.getMessage())


@contextmanager
def said(say: Callable[[str], None]) -> Iterator[None]:
    """Hand on what the simulator has to say meanwhile, line by line."""
    log, lines = logging.getLogger("simulator"), _Lines(say)
    before = log.level
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(lines)
        log.setLevel(before)
