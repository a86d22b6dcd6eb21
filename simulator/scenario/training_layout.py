"""The layout of a training run: as given, or the fastest that fits with what is given kept."""

from __future__ import annotations

import math
from typing import Any, Final

from simulator.catalog.entries import GpuSpec, NodeSpec
from simulator.foundation.errors import LayoutError
from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout
from simulator.performance.layouts import LayoutChoice, choose_layout
from simulator.scenario.workloads import Training

#: Sequences of a step, where the scenario gives no batch: about four million tokens, as the
#: published runs of 2023 to 2025 use in their long middle.
BATCH_TOKENS: Final = 4_194_304

#: Fields that a `Parallelism` and a `Layout` share.
SHARED: Final = (
    "tensor_parallel",
    "pipeline_parallel",
    "data_parallel",
    "context_parallel",
    "expert_parallel",
    "interleave",
    "schedule",
    "micro_batch",
    "sequence_parallel",
    "recompute",
    "zero_stage",
    "shard_ranks",
    "outermost",
)


def given_fields(run: Training) -> dict[str, Any]:
    """Return what the scenario says of the layout, by the names of `Layout`."""
    said = {name: getattr(run.parallelism, name) for name in SHARED}
    return {name: value for name, value in said.items() if value is not None}


def chosen_layout(
    run: Training, architecture: Architecture, longest_tokens: int, gpu: GpuSpec, node: NodeSpec
) -> LayoutChoice:
    """Return the fastest layout that fits a run on one kind of node, with the runners-up.

    Raises
    ------
    LayoutError
        If none divides or fits; the message gives the numbers.
    """
    context = run.sequence_tokens(longest_tokens)
    return choose_layout(
        architecture,
        gpu,
        node,
        gpus=run.gpus,
        global_batch=run.global_batch or max(1, BATCH_TOKENS // context),
        context_tokens=context,
        precision=run.precision,
        fixed=given_fields(run),
    )


def given_layout(run: Training, longest_tokens: int) -> Layout:
    """Return the layout that a scenario spells out; the replicas follow from the GPUs.

    Raises
    ------
    LayoutError
        If the degrees do not make the run's GPUs, or contradict each other.
    """
    context = run.sequence_tokens(longest_tokens)
    batch = run.global_batch or max(1, BATCH_TOKENS // context)
    fields = given_fields(run)
    if run.mfu_fraction is not None and run.parallelism.mode == "auto":
        # The step is given by its MFU: only GPUs and tokens matter, not how they are cut.
        replicas = math.gcd(run.gpus, batch)
        return Layout(
            tensor_parallel=run.gpus // replicas,
            data_parallel=replicas,
            global_batch=batch,
            context_tokens=context,
            precision=run.precision,
            zero_stage=3,
        )
    copy = 1
    for name in ("tensor_parallel", "pipeline_parallel", "context_parallel"):
        copy *= fields.get(name, 1)
    data = fields.setdefault("data_parallel", max(1, run.gpus // copy))
    if copy * data != run.gpus:
        raise LayoutError(
            f"the degrees make {copy} x {data} = {copy * data} ranks, gpus is {run.gpus}; "
            f"gpus must be dp times {copy}"
        )
    if run.global_batch is None:
        unit = data * fields.get("micro_batch", 1)
        batch = max(unit, round(batch / unit) * unit)
    return Layout(**fields, global_batch=batch, context_tokens=context, precision=run.precision)
