"""The electricity grid as a site sees it: carbon intensity, price, clean share, tariff."""

from __future__ import annotations

from simulator.grid.mix import mix_signals
from simulator.grid.signals import GridSignals, constant_signals
from simulator.grid.tariff import Tariff
from simulator.grid.trace import read_trace

__all__ = ["GridSignals", "Tariff", "constant_signals", "mix_signals", "read_trace"]
