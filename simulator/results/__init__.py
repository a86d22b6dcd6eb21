"""The run folder: what a run leaves, how it is written and how it is read."""

from __future__ import annotations
