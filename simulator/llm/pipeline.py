"""What a pipeline's schedule costs: idle time, activations held at once, copies of the weights."""

from __future__ import annotations

from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout


def bubble_slots(
    layout: Layout, forward: float = 1.0, backward: float = 2.0, weight_gradient: float = 1.0
) -> float:
    """Return a step's idle time as a fraction of the time over all micro-batches.

    With p stages, v chunks on each and m micro-batches: 1F1B waits (p - 1) (F + B) / v;
    zero-bubble splits the backward pass and fills with weight gradients, (p - 1) (F + B - 2 W);
    dualpipe feeds from both ends, (p / 2 - 1) (2 B + F - 3 W). Divided by m (F + B).

    Parameters
    ----------
    forward, backward, weight_gradient
        Time of one micro-batch's passes, in any one unit: forward, the whole backward pass with
        what it computes again, and the part of that which makes weight gradients.

    Returns
    -------
    float
        0 without a pipeline. A step takes 1 + this times the busiest stage's own work.

    References
    ----------
    Narayanan et al., "Efficient large-scale language model training", 2021. arXiv:2104.04473
    Qi et al., "Zero bubble pipeline parallelism", 2023. arXiv:2401.10241
    DeepSeek-AI, "DeepSeek-V3", 2024, table 2. arXiv:2412.19437

    Examples
    --------
    >>> bubble_slots(Layout(pipeline_parallel=4, global_batch=12))
    0.25
    """
    stages = layout.pipeline_parallel
    if stages == 1:
        return 0.0
    whole = forward + backward
    if layout.schedule == "zero-bubble":
        idle = (stages - 1) * max(0.0, whole - 2.0 * weight_gradient)
    elif layout.schedule == "dualpipe":
        idle = (stages / 2 - 1) * max(0.0, whole + backward - 3.0 * weight_gradient)
    else:
        idle = (stages - 1) * whole / layout.interleave
    return idle / (layout.microbatches * whole)


def microbatches_held(layout: Layout, stage: int = 0) -> float:
    """Return the micro-batches whose activations a stage keeps at once. [count]

    1F1B and zero-bubble (its variant of equal memory): one more than there are stages behind.
    Interleaved, the first stage starts (p - 1) more chunks, and each later one two less. Dualpipe:
    one more than stages on all.
    """
    stages = layout.pipeline_parallel
    chunks = layout.interleave
    if chunks > 1:
        started = stages * chunks + stages - 1 - 2 * stage
    elif layout.schedule == "dualpipe":
        started = stages + 1
    else:
        started = stages - stage
    return min(float(layout.microbatches), started / chunks)


def weight_copies(layout: Layout) -> int:
    """Return how many stages' weights lie on each GPU: 2 for dualpipe, which feeds from both ends."""
    return 2 if layout.schedule == "dualpipe" else 1


def telling_stages(stages: int) -> tuple[int, ...]:
    """Return the stages one of which is the fullest: the first, the second and the last."""
    return tuple(dict.fromkeys((0, min(1, stages - 1), stages - 1)))


def stage_layers(architecture: Architecture, stages: int, stage: int) -> tuple[int, int]:
    """Return the (dense, expert) layers of a stage. [count]

    Layers that do not divide evenly are missing on the last stage first, which also has the output
    embedding, then on the first, which has the input's, then from the back. A model's dense
    layers come first; layers that predict further tokens are on the last stage.
    """
    most = -(-architecture.layers // stages)
    short = most * stages - architecture.layers
    is_last = stage == stages - 1
    # How many stages give up a layer before this one does.
    rank = 0 if is_last else 1 if stage == 0 else stages - stage
    layers = most - (rank < short)
    further = architecture.mtp_layers if is_last else 0
    if not architecture.experts:
        return layers + further, 0
    before = 0
    if stage:
        before = stage * most - (short > 1) - max(0, stage - 1 - (stages - short))
    dense = min(layers, max(0, architecture.dense_layers - before))
    return dense, layers - dense + further
