"""1F1B acted out slot by slot, against the bubble that the step model charges.

Each stage follows its own list of forward and backward passes and waits for its neighbours;
time is a longest path. Nothing is shared with the model, and no chance is involved.
"""

from __future__ import annotations

import pytest

from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout
from simulator.performance.training import estimate


def act_out_1f1b(stages: int, microbatches: int, forward: float, backward: float, last: float = 1.0) -> float:
    """Return the time of one step of non-interleaved 1F1B with free sends.

    Stages are equal but the last, which takes ``last`` times as long.
    """
    orders = []
    for stage in range(stages):
        warm = min(stages - stage - 1, microbatches)
        order = [("F", i) for i in range(warm)]
        for i in range(microbatches - warm):
            order += [("F", warm + i), ("B", i)]
        order += [("B", i) for i in range(microbatches - warm, microbatches)]
        orders.append(order)
    done: dict[tuple[str, int, int], float] = {}
    clock = [0.0] * stages
    position = [0] * stages
    while any(position[stage] < len(orders[stage]) for stage in range(stages)):
        moved = False
        for stage in range(stages):
            if position[stage] == len(orders[stage]):
                continue
            kind, index = orders[stage][position[stage]]
            if kind == "F":
                needs = (kind, index, stage - 1) if stage else None
            else:
                needs = (kind, index, stage + 1) if stage < stages - 1 else ("F", index, stage)
            if needs is not None and needs not in done:
                continue
            ready = done[needs] if needs is not None else 0.0
            work = forward if kind == "F" else backward
            clock[stage] = max(clock[stage], ready) + work * (last if stage == stages - 1 else 1.0)
            done[kind, index, stage] = clock[stage]
            position[stage] += 1
            moved = True
        assert moved, "the schedule deadlocks"
    return max(clock)


def parts(vocab: int, stages: int, microbatches: int, layers: int = 64) -> dict[str, float]:
    """Return the breakdown of a model whose layers divide over the stages."""
    catalog = Catalog.shipped()
    profile = estimate(
        Architecture("even", layers, 2048, 16, 16, 128, 8192, vocab),
        Layout(1, stages, 1, global_batch=microbatches),
        catalog.get("gpus", "h100-sxm"),
        catalog.get("nodes", "hgx-h100-8"),
        check_memory=False,
    )
    return dict(profile.breakdown)


@pytest.mark.parametrize("vocab", [256, 65_536, 524_288])
@pytest.mark.parametrize(("stages", "microbatches"), [(2, 2), (4, 4), (4, 16), (8, 8), (8, 31)])
def test_the_bubble_is_what_1f1b_leaves_idle(stages, microbatches, vocab):
    """Also where the output embedding makes the last stage up to a few times as long."""
    whole_s = parts(vocab, 1, microbatches)["compute_s"]
    layers_s = parts(vocab, 1, microbatches, layers=128)["compute_s"] - whole_s
    last = stages * (whole_s / layers_s - 1.0) + 1.0
    busy = 3.0 * last * microbatches
    idle = act_out_1f1b(stages, microbatches, 1.0, 2.0, last) - busy
    found = parts(vocab, stages, microbatches)
    assert found["pp_bubble_s"] / found["compute_s"] == pytest.approx(idle / busy, rel=1e-9)
