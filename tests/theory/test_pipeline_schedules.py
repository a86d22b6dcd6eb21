"""Pipeline schedules acted out pass by pass: idle time and activations held; nothing is shared."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout
from simulator.llm.pipeline import bubble_slots, microbatches_held, stage_layers


@dataclass
class Stage:
    """What a stage has done, when it is free, and how many activations it holds."""

    free_at: float = 0.0
    held: int = 0
    most_held: int = 0
    order: list[tuple[str, int, int]] = field(default_factory=list)


def act_out(orders, pass_time, after):
    """Return (makespan, most held by each stage); each stage keeps its order and waits its turn.

    ``after`` says which pass of which stage must be done before a pass may start.
    """
    stages = [Stage(order=list(order)) for order in orders]
    done: dict[tuple[int, str, int, int], float] = {}
    while any(stage.order for stage in stages):
        moved = False
        for number, stage in enumerate(stages):
            while stage.order:
                kind, micro, chunk = stage.order[0]
                needs = after(number, kind, micro, chunk)
                if any(need not in done for need in needs):
                    break
                start = max([stage.free_at, *(done[need] for need in needs)])
                stage.free_at = start + pass_time[kind]
                done[number, kind, micro, chunk] = stage.free_at
                stage.order.pop(0)
                stage.held += {"F": 1, "B": -1}.get(kind, 0)
                stage.most_held = max(stage.most_held, stage.held)
                moved = True
        assert moved, "the schedule deadlocks"
    return max(stage.free_at for stage in stages), [stage.most_held for stage in stages]


def interleaved_orders(stages, chunks, microbatches):
    """Return Megatron-LM's order: p micro-batches through each chunk, warm-up of its own length."""
    forward = [
        (group * stages + offset, chunk)
        for group in range(microbatches // stages)
        for chunk in range(chunks)
        for offset in range(stages)
    ]
    backward = [
        (group * stages + offset, chunk)
        for group in range(microbatches // stages)
        for chunk in reversed(range(chunks))
        for offset in range(stages)
    ]
    orders = []
    for stage in range(stages):
        warm = min(len(forward), 2 * (stages - stage - 1) + (chunks - 1) * stages)
        order = [("F", *forward[i]) for i in range(warm)]
        for i in range(len(forward) - warm):
            order += [("F", *forward[warm + i]), ("B", *backward[i])]
        order += [("B", *backward[i]) for i in range(len(forward) - warm, len(backward))]
        orders.append(order)
    return orders


def interleaved_needs(stages, chunks):
    """Return what a pass waits for: the stage before, of the chunk before where it is the first."""

    def after(stage, kind, micro, chunk):
        if kind == "F":
            if stage:
                return [(stage - 1, "F", micro, chunk)]
            return [(stages - 1, "F", micro, chunk - 1)] if chunk else []
        if stage < stages - 1:
            return [(stage + 1, "B", micro, chunk)]
        if chunk < chunks - 1:
            return [(0, "B", micro, chunk + 1)]
        return [(stage, "F", micro, chunk)]

    return after


@pytest.mark.parametrize(("stages", "chunks", "microbatches"), [
    (2, 2, 4), (4, 2, 8), (4, 3, 12), (8, 2, 16), (4, 1, 8), (8, 1, 24),
])  # fmt: skip
def test_interleaving_idles_and_holds_as_acted_out(stages, chunks, microbatches):
    forward, backward = 1.0, 2.0
    took, held = act_out(
        interleaved_orders(stages, chunks, microbatches)
        if chunks > 1
        else plain_orders(stages, microbatches),
        {"F": forward / chunks, "B": backward / chunks},
        interleaved_needs(stages, chunks),
    )
    layout = Layout(
        pipeline_parallel=stages, interleave=chunks, global_batch=microbatches, context_tokens=128
    )
    busy = microbatches * (forward + backward)
    assert bubble_slots(layout) == pytest.approx((took - busy) / busy, rel=1e-12)
    for stage, most in enumerate(held):
        assert microbatches_held(layout, stage) * chunks == pytest.approx(most)


def plain_orders(stages, microbatches):
    """Return 1F1B."""
    orders = []
    for stage in range(stages):
        warm = min(stages - stage - 1, microbatches)
        order = [("F", i, 0) for i in range(warm)]
        for i in range(microbatches - warm):
            order += [("F", warm + i, 0), ("B", i, 0)]
        order += [("B", i, 0) for i in range(microbatches - warm, microbatches)]
        orders.append(order)
    return orders


def act_out_zero_bubble(stages, microbatches, forward, inputs, weights):
    """Return (makespan, most held): each stage does input gradients first, then forwards within
    the memory of 1F1B, and weight gradients only when nothing else can start."""
    time = 0.0
    free_at = [0.0] * stages
    done: dict[tuple[str, int, int], float] = {}
    counts = [{"F": 0, "B": 0, "W": 0} for _ in range(stages)]
    most = [0] * stages
    lengths = {"F": forward, "B": inputs, "W": weights}
    while any(count["W"] < microbatches for count in counts):
        for stage, count in enumerate(counts):
            if free_at[stage] > time:
                continue
            choice = None
            for kind in ("B", "F", "W"):
                index = count[kind]
                if index == microbatches:
                    continue
                if kind == "B":
                    need = ("F", index, stage) if stage == stages - 1 else ("B", index, stage + 1)
                    ready = done.get(need, 1e9) <= time
                elif kind == "F":
                    inside = count["F"] - count["B"] < stages - stage
                    ready = inside and (not stage or done.get(("F", index, stage - 1), 1e9) <= time)
                else:
                    ready = count["W"] < count["B"]
                if ready:
                    choice = kind
                    break
            if choice is not None:
                done[choice, count[choice], stage] = free_at[stage] = time + lengths[choice]
                count[choice] += 1
                most[stage] = max(most[stage], count["F"] - count["B"])
        time = min(at for at in [*free_at, *done.values()] if at > time)
    return max(free_at), most


@pytest.mark.parametrize(("stages", "microbatches"), [(2, 4), (4, 4), (4, 16), (8, 8), (8, 32)])
def test_zero_bubble_idles_and_holds_as_acted_out(stages, microbatches):
    took, held = act_out_zero_bubble(stages, microbatches, 1.0, 1.0, 1.0)
    layout = Layout(
        pipeline_parallel=stages, global_batch=microbatches, context_tokens=128, schedule="zero-bubble"
    )
    busy = 3.0 * microbatches
    assert bubble_slots(layout, 1.0, 2.0, 1.0) == pytest.approx((took - busy) / busy, rel=1e-12)
    assert [microbatches_held(layout, stage) for stage in range(stages)] == held


def test_dualpipe_is_what_its_table_says():
    """DeepSeek-V3, table 2: (PP/2 - 1)(F&B + B - 3W), twice the weights, PP + 1 activations."""
    layout = Layout(pipeline_parallel=8, global_batch=20, context_tokens=128, schedule="dualpipe")
    forward, backward, weight = 1.0, 2.2, 0.9
    idle = (8 / 2 - 1) * ((forward + backward) + backward - 3 * weight)
    assert bubble_slots(layout, forward, backward, weight) * 20 * (forward + backward) == pytest.approx(idle)
    assert [microbatches_held(layout, stage) for stage in (0, 4, 7)] == [9, 9, 9]


@pytest.mark.parametrize("layers", [7, 61, 80, 96, 105, 126, 127, 128])
@pytest.mark.parametrize("stages", [1, 2, 4, 7, 16])
def test_stages_share_out_all_layers_and_no_more(layers, stages):
    model = Architecture(
        "m", layers, 64, 4, 4, 16, 256, 100, experts=8, experts_per_token=2, expert_ffn=32,
        dense_layers=min(3, layers), mtp_layers=1,
    )  # fmt: skip
    dealt = [stage_layers(model, stages, stage) for stage in range(stages)]
    assert sum(dense for dense, _ in dealt) == model.dense_layers
    assert sum(moe for _, moe in dealt) == layers - model.dense_layers + 1
    totals = [dense + moe for dense, moe in dealt[:-1]] + [sum(dealt[-1]) - 1]
    assert max(totals) - min(totals) <= 1
    if layers % stages:
        assert totals[-1] == min(totals)
