"""What iterations of a service take on a GPU, by the model, as the service runs it."""

from __future__ import annotations

from typing import Any

from simulator.catalog.entries import GpuSpec
from simulator.catalog.shelf import Catalog
from simulator.llm.memory import kv_precision_of
from simulator.performance.serving import ServingProfile, serving_profile
from simulator.scenario.served_model import served_architecture
from simulator.scenario.services import Service


def served_kv_precision(service: Service) -> str:
    """Return the format in which a service remembers keys and values."""
    return service.engine.kv_precision or kv_precision_of(service.engine.precision)


def served_profile(service: Service, catalog: Catalog, gpu: GpuSpec, **engine: Any) -> ServingProfile:
    """Return the profile of a replica on GPUs of one kind.

    Parameters
    ----------
    engine
        Numbers of the engine that ``serving_profile`` takes; its own defaults where not given.
    """
    return serving_profile(
        served_architecture(service, catalog),
        gpu,
        tensor_parallel=service.tensor_parallel,
        attention_data_parallel=service.attention_data_parallel,
        expert_parallel=service.expert_parallel,
        engine=service.engine.software,
        precision=service.engine.precision,
        kv_precision=served_kv_precision(service),
        **engine,
    )
