"""Which layout ``parallelism: auto`` takes: the fastest that fits, with its runners-up and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from simulator.catalog.entries import GpuSpec, NodeSpec
from simulator.foundation.errors import LayoutError
from simulator.foundation.units import GIB
from simulator.llm.architecture import Architecture
from simulator.llm.layout import RECOMPUTE_KINDS, Layout
from simulator.llm.memory import training_memory
from simulator.network.spread import Spread
from simulator.performance.training import TrainingProfile, check_divides, estimate

#: How far the global batch may move to divide by the replicas, tried in this order.
BATCH_TOLERANCES: Final = (0.05, 0.15, 0.5)

#: Contexts from which on cutting a sequence over GPUs is tried.
LONG_CONTEXT_TOKENS: Final = 16_384

RUNNERS_UP: Final = 4


@dataclass(frozen=True)
class LayoutChoice:
    """The layout taken, those that came next, and how many were looked at.

    Parameters
    ----------
    best
        Profile of the fastest layout that fits.
    runners_up
        The next ones, fastest first, each with other degrees than those before.
    examined, too_big
        Layouts that divide, and those of them that do not fit the memory. [count]
    wanted_batch
        Global batch that was asked for; the layout's own may differ to divide. [sequences]
    """

    best: TrainingProfile
    runners_up: tuple[TrainingProfile, ...]
    examined: int
    too_big: int
    wanted_batch: int

    def reasons(self) -> tuple[str, ...]:
        """Return one line for the layout taken and one for each runner-up."""
        best_rate = _tokens_per_s(self.best)
        memory = self.best.memory
        held = f", {memory.total_bytes / GIB:.0f} GiB a GPU" if memory is not None else ""
        lines = [
            f"{self.best.layout.describe()}: {self.best.step_s:.3g} s a step, "
            f"MFU {self.best.mfu_fraction():.1%}{held}; fastest of {self.examined} layouts, "
            f"{self.too_big} more do not fit"
        ]
        if self.best.layout.global_batch != self.wanted_batch:
            lines[0] += (
                f"; global batch {self.best.layout.global_batch} instead of {self.wanted_batch} "
                "so that replicas get equal parts"
            )
        lines += [
            f"{profile.layout.describe()}: {1.0 - _tokens_per_s(profile) / best_rate:.1%} slower, "
            f"{_difference(profile, self.best)}"
            for profile in self.runners_up
        ]
        return tuple(lines)


def choose_layout(
    architecture: Architecture,
    gpu: GpuSpec,
    node: NodeSpec,
    *,
    gpus: int,
    global_batch: int,
    context_tokens: int,
    precision: str = "bf16",
    spread: Spread | None = None,
    nic_bandwidth_bytes_per_s: float | None = None,
) -> LayoutChoice:
    """Return the layout with most tokens a second among those that divide and fit.

    Tensor parallelism stays inside a scale-up domain; pipeline stages are powers of two and
    three times such; context parallelism is tried for long sequences only; weights are
    sharded (ZeRO-3) only without a pipeline.

    Parameters
    ----------
    gpus
        All of them are used. [count]
    global_batch
        Sequences of a step; moved by up to 5 % (if nothing divides, 15 %, then 50 %) so that
        each replica gets the same number. [sequences]

    Raises
    ------
    LayoutError
        If no layout divides or none fits; the message names the nearest.
    """
    domain = node.scale_up_domain_gpus
    if spread is None:
        spread = Spread.compact(gpus, node.gpus_per_node, domain_gpus=domain)
    nearest: tuple[float, Layout] | None = None
    for tolerance in BATCH_TOLERANCES:
        found: list[TrainingProfile] = []
        examined = too_big = 0
        for layout in _candidates(
            architecture,
            gpus=gpus,
            domain=min(domain, gpus),
            global_batch=global_batch,
            tolerance=tolerance,
            context_tokens=context_tokens,
            precision=precision,
        ):
            examined += 1
            need = training_memory(architecture, layout).total_bytes
            if need > gpu.memory_bytes:
                too_big += 1
                if nearest is None or need < nearest[0]:
                    nearest = (need, layout)
                continue
            found.append(
                estimate(
                    architecture,
                    layout,
                    gpu,
                    node,
                    spread,
                    nic_bandwidth_bytes_per_s=nic_bandwidth_bytes_per_s,
                )
            )
        if found:
            found.sort(key=lambda profile: (-_tokens_per_s(profile), profile.layout.describe()))
            return LayoutChoice(found[0], _runners_up(found), examined - too_big, too_big, global_batch)
    if nearest is None:
        raise LayoutError(
            f"{architecture.name} on {gpus} GPUs: no layout gives {global_batch} sequences a step in "
            f"equal parts; nearest good global batch: a multiple of the replicas, such as {gpus}"
        )
    raise LayoutError(
        f"{architecture.name} does not fit {gpus} GPUs of {gpu.memory_bytes / GIB:.0f} GiB in any "
        f"layout; the nearest, {nearest[1].describe()}, needs {nearest[0] / GIB:.0f} GiB a GPU"
    )


def _candidates(
    architecture: Architecture,
    *,
    gpus: int,
    domain: int,
    global_batch: int,
    tolerance: float,
    context_tokens: int,
    precision: str,
) -> Iterator[Layout]:
    contexts = (1, 2, 4, 8, 16) if context_tokens >= LONG_CONTEXT_TOKENS else (1,)
    for tensor in _powers(domain):
        if architecture.heads % tensor:
            continue
        for pipeline in _stages(architecture.layers):
            for context in contexts:
                replica = tensor * pipeline * context
                if gpus % replica:
                    continue
                data = gpus // replica
                for micro in (1, 2, 4, 8):
                    unit = data * micro
                    batch = max(unit, round(global_batch / unit) * unit)
                    if abs(batch - global_batch) > tolerance * global_batch:
                        continue
                    for chunk in _chunks(architecture.layers, pipeline):
                        for zero in (1, 3) if pipeline == 1 and data > 1 else (1,):
                            for recompute in RECOMPUTE_KINDS:
                                for expert in _expert_degrees(architecture, data * context, domain // tensor):
                                    layout = Layout(
                                        tensor_parallel=tensor,
                                        pipeline_parallel=pipeline,
                                        data_parallel=data,
                                        context_parallel=context,
                                        expert_parallel=expert,
                                        interleave=chunk,
                                        micro_batch=micro,
                                        global_batch=batch,
                                        context_tokens=context_tokens,
                                        recompute=recompute,
                                        zero_stage=zero,
                                        precision=precision,
                                    )
                                    check_divides(architecture, layout)
                                    yield layout


def _powers(most: int) -> list[int]:
    return [1 << power for power in range(most.bit_length()) if 1 << power <= most]


def _stages(layers: int) -> list[int]:
    stages = set(_powers(min(layers, 64))) | {3 * power for power in _powers(21) if 3 * power <= layers}
    return sorted(stages)


def _chunks(layers: int, stages: int) -> list[int]:
    """Return interleaves worth trying: none, half and all of the layers of a stage."""
    if stages == 1:
        return [1]
    most = -(-layers // stages)
    return sorted({1, max(1, most // 2), most} if most * stages <= layers + 2 else {1})


def _expert_degrees(architecture: Architecture, ranks: int, domain: int) -> list[int]:
    if not architecture.experts:
        return [1]
    degrees = _powers(min(architecture.experts, ranks))
    good = [d for d in degrees if architecture.experts % d == 0 and ranks % d == 0]
    # All of a domain, or all experts apart: what lies between is never the best of both.
    inside = [d for d in good if d <= max(1, domain)]
    return sorted({inside[-1], good[-1]})


def _runners_up(found: list[TrainingProfile]) -> tuple[TrainingProfile, ...]:
    seen = {_degrees(found[0].layout)}
    kept: list[TrainingProfile] = []
    for profile in found[1:]:
        degrees = _degrees(profile.layout)
        if degrees in seen:
            continue
        seen.add(degrees)
        kept.append(profile)
        if len(kept) == RUNNERS_UP:
            break
    return tuple(kept)


def _degrees(layout: Layout) -> tuple[int, int, int, int]:
    return (
        layout.tensor_parallel,
        layout.pipeline_parallel,
        layout.context_parallel,
        layout.expert_parallel,
    )


def _tokens_per_s(profile: TrainingProfile) -> float:
    return profile.unit_per_step / profile.step_s


def _difference(profile: TrainingProfile, best: TrainingProfile) -> str:
    """Return the part of the step that grows most against the best layout, per token."""
    scale = best.unit_per_step / profile.unit_per_step
    mine, others = profile.breakdown, best.breakdown
    key = max(mine, key=lambda name: mine[name] * scale - others[name])
    grown = mine[key] * scale - others[key]
    return f"{key.removesuffix('_s').replace('_', ' ')} costs {grown:.2g} s more"
