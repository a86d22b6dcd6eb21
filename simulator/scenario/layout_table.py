"""Each training run's layout as a table: what was taken, what came next, and where the time goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from simulator.catalog.entries import GpuSpec, NodeSpec
from simulator.foundation.units import GIB
from simulator.llm.architecture import Architecture
from simulator.llm.memory import training_memory
from simulator.performance.layouts import LayoutChoice, choose_layout, lost_to
from simulator.performance.profile import BREAKDOWN_KEYS
from simulator.performance.training import TrainingProfile, estimate
from simulator.scenario.training_layout import chosen_layout, given_layout
from simulator.scenario.workloads import Training

if TYPE_CHECKING:
    from simulator.scenario.tree import Scenario

#: Heads of the parts of a step, in the order of `BREAKDOWN_KEYS`.
_HEADS: Final = ("compute", "TP", "bubble", "PP", "DP", "EP", "CP", "optim", "wait")


def as_table(scenario: Scenario) -> str:
    """Return the layouts of a scenario's training runs, with the runners-up, for people.

    Raises
    ------
    LayoutError
        If a run has no layout that fits; the message gives the numbers.
    """
    lines: list[str] = []
    for run in scenario.workloads:
        if isinstance(run, Training):
            lines += [*_of_run(scenario, run), ""]
    return "\n".join(lines[:-1] or ["no training run"]) + "\n"


def _of_run(scenario: Scenario, run: Training) -> Iterator[str]:
    model = scenario.catalog.model(run.model)
    node, gpu = _machine(scenario, run)
    yield (
        f"{run.name}: {run.model} on {run.gpus} {gpu.name}, {run.precision}, sequences of "
        f"{run.sequence_tokens(model.context_tokens):,} tokens"
    )
    if run.mfu_fraction is not None:
        yield f"  its MFU is given, {run.mfu_fraction:.1%}: no layout is needed"
        return
    architecture = Architecture.from_spec(model)
    if run.parallelism.mode == "auto":
        choice = chosen_layout(run, architecture, model.context_tokens, gpu, node)
        yield from _table([choice.best, *choice.runners_up, *_big(choice)])
        yield from (f"  {line}" for line in choice.reasons())
        return
    given = estimate(architecture, given_layout(run, model.context_tokens), gpu, node)
    choice = choose_layout(
        architecture,
        gpu,
        node,
        gpus=run.gpus,
        global_batch=given.layout.global_batch,
        context_tokens=given.layout.context_tokens,
        precision=run.precision,
    )
    same = replace(given.layout, global_batch=choice.best.layout.global_batch) == choice.best.layout
    yield from _table([given] if same else [given, choice.best])
    gain = _rate(choice.best) / _rate(given) - 1.0
    memory = training_memory(architecture, given.layout)
    yield f"  as given, {memory.total_bytes / GIB:.1f} GiB a GPU: {memory.describe()}"
    if same:
        yield "  auto would take the same"
    elif gain <= 0.0:
        yield f"  auto would take {choice.best.layout.describe()}, which is {-gain:.1%} slower"
    else:
        lost = lost_to(given, choice.best)
        yield f"  auto would take {choice.best.layout.describe()}, {gain:.1%} faster: here {lost}"


def _big(choice: LayoutChoice) -> list[TrainingProfile]:
    return [choice.too_big_but_faster] if choice.too_big_but_faster is not None else []


def _machine(scenario: Scenario, run: Training) -> tuple[NodeSpec, GpuSpec]:
    """Return the node and GPU of the first pool that a run may start on."""
    catalog = scenario.catalog
    pools = {f"{site.name}.{pool.name}": pool for site in scenario.sites for pool in site.pools}
    queues = [queue for queue in scenario.queues if run.queue in (None, queue.name)]
    nodes = [catalog.node(pools[address].node) for queue in queues for address in queue.pools]
    node = next(node for node in nodes if run.gpu_type in (None, node.gpu))
    return node, catalog.gpu(node.gpu)


def _table(profiles: Sequence[TrainingProfile]) -> Iterator[str]:
    """Return rows of seconds for the tokens of the first profile's step."""
    shown = [
        (key, head)
        for key, head in zip(BREAKDOWN_KEYS, _HEADS, strict=True)
        if any(profile.breakdown[key] > 0.0 for profile in profiles)
    ]
    width = max(len(profile.layout.describe()) for profile in profiles)
    heads = ["s/step", "MFU", "GiB", *(head for _, head in shown)]
    yield f"  {'layout':{width}}" + "".join(f"{head:>8}" for head in heads)
    for profile in profiles:
        scale = profiles[0].unit_per_step / profile.unit_per_step
        need = training_memory(profile.architecture, profile.layout).total_bytes
        over = "!" if need > profile.gpu.memory_bytes else ""
        cells = [f"{profile.step_s * scale:.3g}", f"{profile.mfu_fraction():.1%}", f"{need / GIB:.0f}{over}"]
        cells += [f"{profile.breakdown[key] * scale:.3g}" for key, _ in shown]
        yield f"  {profile.layout.describe():{width}}" + "".join(f"{cell:>8}" for cell in cells)


def _rate(profile: TrainingProfile) -> float:
    return profile.unit_per_step / profile.step_s
