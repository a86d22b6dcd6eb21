"""What is recorded: tables, columns, units, the recorder and the record."""

from __future__ import annotations

from simulator.telemetry.record import (
    JobOutcome,
    LayoutFacts,
    LearningFacts,
    LinkLoss,
    NodeFacts,
    PoolFacts,
    Record,
    ReliabilityFacts,
    ServiceRecord,
    SignalRead,
    SiteFacts,
    SwingFacts,
)
from simulator.telemetry.recorder import ColumnBuffer, MemorySink, Recorder, Sink
from simulator.telemetry.tables import PHASES, TABLES, WAIT_REASONS, Column, Phase, Table

__all__ = [
    "PHASES",
    "TABLES",
    "WAIT_REASONS",
    "Column",
    "ColumnBuffer",
    "JobOutcome",
    "LayoutFacts",
    "LearningFacts",
    "LinkLoss",
    "MemorySink",
    "NodeFacts",
    "Phase",
    "PoolFacts",
    "Record",
    "Recorder",
    "ReliabilityFacts",
    "ServiceRecord",
    "SignalRead",
    "Sink",
    "SiteFacts",
    "SwingFacts",
    "Table",
]
