"""The run folder: what a run leaves, how it is written and how it is read."""

from __future__ import annotations

from simulator.results.finished_run import Run, open_run

__all__ = ["Run", "open_run"]
