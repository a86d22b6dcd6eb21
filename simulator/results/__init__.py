"""The run folder: what a run leaves, how it is written and how it is read."""

from __future__ import annotations

from simulator.results.execution import execute, run
from simulator.results.finished_run import Run, open_run
from simulator.results.reaccounting import Reaccount, reaccount

__all__ = ["Reaccount", "Run", "execute", "open_run", "reaccount", "run"]
