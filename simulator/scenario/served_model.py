"""The shape that a service really runs: its catalog model, pruned or distilled where it asks for that."""

from __future__ import annotations

from simulator.catalog.shelf import Catalog
from simulator.foundation.units import render
from simulator.llm.architecture import Architecture
from simulator.llm.transforms import transformed
from simulator.scenario.services import Service


def served_architecture(service: Service, catalog: Catalog) -> Architecture:
    """Return the shape of a service's replicas; LayoutError if the transform leaves nothing."""
    architecture = Architecture.from_spec(catalog.model(service.model))
    change = service.transform
    if change is None:
        return architecture
    student = None if change.student is None else Architecture.from_spec(catalog.model(change.student))
    keep_fraction = 1.0 if change.keep_fraction is None else change.keep_fraction
    return transformed(architecture, change.kind, keep_fraction=keep_fraction, student=student)


def served_name(service: Service) -> str:
    """Return what runs, for people: the student and not its teacher, or how much was kept."""
    change = service.transform
    if change is None:
        return service.model
    if change.student is not None:
        return f"{change.student}, distilled from {service.model}"
    kept = render(1.0 if change.keep_fraction is None else change.keep_fraction, "fraction")
    part = {"prune-depth": "layers", "prune-width": "widths"}[change.kind]
    return f"{service.model}, {kept} of its {part}"
