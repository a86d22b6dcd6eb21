"""The engine that a service really runs: the catalog's numbers, or what the service says instead."""

from __future__ import annotations

from dataclasses import replace

from simulator.catalog.entries import EngineSpec
from simulator.catalog.shelf import Catalog
from simulator.scenario.services import Service
from simulator.serving.batch_rule import BatchRule, batch_rule


def served_engine(service: Service, catalog: Catalog, gpu_memory_bytes: float) -> EngineSpec:
    """Return an engine's numbers with the service's own in place of the catalog's.

    Parameters
    ----------
    gpu_memory_bytes
        Of the smallest GPU that a replica may get: vLLM V1 has two sets of defaults.
    """
    defaults = catalog.engine(service.engine.entry_on(gpu_memory_bytes))
    return replace(defaults, **service.engine.numbers)


def served_rule(service: Service, engine: EngineSpec) -> BatchRule:
    """Return the batching rule of an engine's numbers; ValueError if they contradict each other."""
    return batch_rule(
        engine.scheduler,
        max_sequences=engine.max_sequences,
        token_budget=engine.token_budget,
        block_tokens=engine.block_tokens,
        watermark_fraction=engine.watermark_fraction,
        **service.engine.choices,
    )
