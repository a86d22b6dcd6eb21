"""Transformers on paper: sizes, arithmetic, bytes, and how a job is cut over GPUs."""

from __future__ import annotations

from simulator.llm.architecture import Architecture
from simulator.llm.flops import FlopConvention, training_flop_per_token
from simulator.llm.layout import Layout
from simulator.llm.memory import (
    TrainingMemory,
    check_training_memory,
    kv_blocks,
    kv_bytes_per_token,
    training_memory,
    weight_bytes,
)

__all__ = [
    "Architecture",
    "FlopConvention",
    "Layout",
    "TrainingMemory",
    "check_training_memory",
    "kv_blocks",
    "kv_bytes_per_token",
    "training_flop_per_token",
    "training_memory",
    "weight_bytes",
]
