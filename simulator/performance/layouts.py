"""Which layout ``parallelism: auto`` takes: the fastest that fits, with its runners-up and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from simulator.catalog.entries import GpuSpec, NodeSpec
from simulator.foundation.errors import LayoutError
from simulator.foundation.units import GIB
from simulator.llm.architecture import Architecture
from simulator.llm.layout import RECOMPUTE_KINDS, Layout
from simulator.llm.memory import TrainingMemory, training_memory
from simulator.network.spread import Spread
from simulator.performance.training import TrainingProfile, check_divides, estimate

#: How far the global batch may move to divide by the replicas, tried in this order.
BATCH_TOLERANCES: Final = (0.05, 0.15, 0.5)

#: Contexts from which on cutting a sequence over GPUs is tried.
LONG_CONTEXT_TOKENS: Final = 16_384

RUNNERS_UP: Final = 4

#: Layouts that do not fit are looked at, to say what memory costs, up to this much too big.
_NEARLY_FITS: Final = 1.5

#: Of them, the nearest so many.
_MOST_TOO_BIG: Final = 200

#: Parts of a step in the words of a sentence.
PART_NAMES: Final = {
    "compute_s": "arithmetic",
    "tp_comm_s": "tensor-parallel communication",
    "pp_bubble_s": "pipeline bubble",
    "pp_comm_s": "sends between stages",
    "dp_exposed_s": "exchange of gradients and weights",
    "ep_comm_s": "expert-parallel communication",
    "cp_comm_s": "context-parallel communication",
    "optimizer_s": "optimiser",
    "straggler_s": "wait for the slowest",
}


@dataclass(frozen=True)
class LayoutChoice:
    """The layout taken, those that came next, and how many were looked at.

    Parameters
    ----------
    best
        Profile of the fastest layout that fits.
    runners_up
        The next ones, fastest first, each with other degrees than those before.
    too_big_but_faster
        The fastest of those that do not fit, if it would beat ``best``; None if none would.
    examined, too_big
        Layouts that fit, and those beside them that do not. [count]
    wanted_batch
        Global batch that was asked for; the layout's own may differ to divide. [sequences]
    """

    best: TrainingProfile
    runners_up: tuple[TrainingProfile, ...]
    too_big_but_faster: TrainingProfile | None
    examined: int
    too_big: int
    wanted_batch: int

    def reasons(self) -> tuple[str, ...]:
        """Return one line for the layout taken and one for each runner-up."""
        best_rate = _tokens_per_s(self.best)
        lines = [
            f"{self.best.layout.describe()}: {self.best.step_s:.3g} s a step, "
            f"MFU {self.best.mfu_fraction():.1%}, {_memory(self.best).total_bytes / GIB:.0f} GiB a GPU; "
            f"fastest of {self.examined} layouts, {self.too_big} more do not fit"
        ]
        if self.best.layout.global_batch != self.wanted_batch:
            lines[0] += (
                f"; global batch {self.best.layout.global_batch} instead of {self.wanted_batch} "
                "so that replicas get equal parts"
            )
        lines += [
            f"{profile.layout.describe()}: {1.0 - _tokens_per_s(profile) / best_rate:.1%} slower, "
            f"{lost_to(profile, self.best)}"
            for profile in self.runners_up
        ]
        big = self.too_big_but_faster
        if big is not None:
            memory = _memory(big)
            lines.append(
                f"{big.layout.describe()}: {_tokens_per_s(big) / best_rate - 1.0:.1%} faster, but needs "
                f"{memory.total_bytes / GIB:.1f} GiB of {big.gpu.memory_bytes / GIB:.1f} GiB: "
                f"{memory.describe()}"
            )
        return tuple(lines)

    def seconds_of_runners_up(self) -> dict[str, dict[str, float]]:
        """Return the parts of each runner-up's step, for the tokens of the best one's. [s]"""
        return {
            profile.layout.describe(): {
                key: seconds * self.best.unit_per_step / profile.unit_per_step
                for key, seconds in profile.breakdown.items()
                if seconds > 0.0
            }
            for profile in self.runners_up
        }


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
    fixed: Mapping[str, Any] | None = None,
) -> LayoutChoice:
    """Return the layout with most tokens a second among those that divide and fit.

    Tensor parallelism stays inside a scale-up domain; pipeline stages are powers of two and
    three times such, in 1F1B with and without interleaving and zero-bubble; context parallelism
    is tried for long sequences only; weights are sharded (ZeRO-3), over all replicas or those of
    a domain, only without a pipeline; recomputation only where less of it does not fit, for it
    never saves time.

    Parameters
    ----------
    gpus
        All of them are used. [count]
    global_batch
        Sequences of a step; moved by up to 5 % (if nothing divides, 15 %, then 50 %) so that
        each replica gets the same number. [sequences]
    fixed
        Fields of `Layout` that are given, and are not searched.

    Raises
    ------
    LayoutError
        If no layout divides or none fits; the message names the nearest.
    """
    domain = node.scale_up_domain_gpus
    if spread is None:
        spread = Spread.compact(gpus, node.gpus_per_node, domain_gpus=domain)
    search = _Search(
        architecture, gpus, min(domain, gpus), global_batch, context_tokens, precision, fixed or {}
    )
    too_big: list[tuple[float, Layout]] = []
    for tolerance in BATCH_TOLERANCES:
        found: list[TrainingProfile] = []
        too_big.clear()
        for ways in search.candidates(tolerance):
            for layout in ways:
                memory = training_memory(architecture, layout)
                if memory.total_bytes > gpu.memory_bytes:
                    too_big.append((memory.total_bytes, layout))
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
                break
        if found:
            found.sort(key=lambda profile: (-_tokens_per_s(profile), profile.layout.describe()))
            # Sorted by size alone, so that equal sizes keep the order of the search.
            too_big.sort(key=lambda pair: pair[0])
            nearly = [layout for need, layout in too_big if need <= _NEARLY_FITS * gpu.memory_bytes]
            big = [
                estimate(
                    architecture,
                    layout,
                    gpu,
                    node,
                    spread,
                    nic_bandwidth_bytes_per_s=nic_bandwidth_bytes_per_s,
                    check_memory=False,
                )
                for layout in nearly[:_MOST_TOO_BIG]
            ]
            faster = max(big, key=_tokens_per_s, default=None)
            if faster is not None and _tokens_per_s(faster) <= _tokens_per_s(found[0]):
                faster = None
            return LayoutChoice(found[0], _runners_up(found), faster, len(found), len(too_big), global_batch)
    if not too_big:
        if search.first_trouble is not None:
            raise search.first_trouble
        raise LayoutError(
            f"{architecture.name} on {gpus} GPUs: no layout gives {global_batch} sequences a step in "
            f"equal parts; nearest good global batch: a multiple of the replicas, such as {gpus}"
        )
    need, layout = min(too_big, key=lambda pair: pair[0])
    memory = training_memory(architecture, layout)
    raise LayoutError(
        f"{architecture.name} does not fit {gpus} GPUs of {gpu.memory_bytes / GIB:.0f} GiB in any "
        f"layout; the nearest, {layout.describe()}, needs {need / GIB:.0f} GiB a GPU: {memory.describe()}"
    )


def nearest_fit(
    architecture: Architecture, layout: Layout, gpu: GpuSpec, node: NodeSpec
) -> TrainingProfile | None:
    """Return the fastest layout that fits and differs least from one that does not.

    One change first (recomputation, a higher ZeRO stage, half the micro-batch, twice the tensor or
    pipeline parallelism for half the replicas, zero-bubble's memory for interleaving's), then
    two, then three; None if that is not enough.
    """
    # Insertion-ordered, so that the answer does not depend on hashes.
    seen = {layout: True}
    ring = [layout]
    for _ in range(3):
        reached = {other: True for start in ring for other in _changed(architecture, start, node)}
        ring = [other for other in reached if other not in seen]
        seen.update(reached)
        fitting = [
            estimate(architecture, other, gpu, node)
            for other in ring
            if training_memory(architecture, other).total_bytes <= gpu.memory_bytes
        ]
        if fitting:
            return max(fitting, key=_tokens_per_s)
    return None


def _changed(architecture: Architecture, layout: Layout, node: NodeSpec) -> Iterator[Layout]:
    """Return layouts that are one step more sparing with memory."""
    stages, data = layout.pipeline_parallel, layout.data_parallel
    changes: list[dict[str, Any]] = [
        {"recompute": kind} for kind in RECOMPUTE_KINDS[RECOMPUTE_KINDS.index(layout.recompute) + 1 :]
    ]
    if layout.zero_stage < 3:
        most = 2 if stages > 1 else 3
        changes += [{"zero_stage": stage} for stage in range(layout.zero_stage + 1, most + 1)]
    if layout.micro_batch % 2 == 0:
        changes.append({"micro_batch": layout.micro_batch // 2})
    if layout.interleave > 1:
        changes.append({"interleave": 1})
    if data % 2 == 0:
        if 2 * layout.tensor_parallel <= node.scale_up_domain_gpus:
            changes.append({"tensor_parallel": 2 * layout.tensor_parallel, "data_parallel": data // 2})
        changes.append({"pipeline_parallel": 2 * stages, "data_parallel": data // 2})
        changes.append({"context_parallel": 2 * layout.context_parallel, "data_parallel": data // 2})
    if architecture.experts:
        changes.append({"expert_parallel": 2 * layout.expert_parallel})
    for change in changes:
        try:
            other = replace(layout, **change)
            check_divides(architecture, other)
        except LayoutError:
            continue
        yield other


@dataclass
class _Search:
    """The layouts of one question, in order."""

    architecture: Architecture
    gpus: int
    domain: int
    global_batch: int
    context_tokens: int
    precision: str
    fixed: Mapping[str, Any]
    first_trouble: LayoutError | None = None

    def candidates(self, tolerance: float) -> Iterator[Iterator[Layout]]:
        """Return the ways to cut the model; each with more and more recomputation."""
        fixed = self.fixed
        contexts = (1, 2, 4, 8, 16) if self.context_tokens >= LONG_CONTEXT_TOKENS else (1,)
        layers = self.architecture.layers
        for tensor in self._given("tensor_parallel", self._tensor_degrees()):
            for pipeline in self._given("pipeline_parallel", _stages(layers)):
                for context in self._given("context_parallel", contexts):
                    replica = tensor * pipeline * context
                    data, rest = divmod(self.gpus, replica)
                    if rest or data != fixed.get("data_parallel", data):
                        continue
                    for micro in self._given("micro_batch", (1, 2, 4, 8)):
                        unit = data * micro
                        batch = max(unit, round(self.global_batch / unit) * unit)
                        if abs(batch - self.global_batch) > tolerance * self.global_batch:
                            continue
                        degrees: dict[str, Any] = {
                            "tensor_parallel": tensor,
                            "pipeline_parallel": pipeline,
                            "data_parallel": data,
                            "context_parallel": context,
                            "micro_batch": micro,
                            "global_batch": batch,
                        }
                        yield from self._savers(degrees, data * context, tensor)

    def _savers(self, degrees: dict[str, Any], replicas: int, tensor: int) -> Iterator[Iterator[Layout]]:
        """Return the ways of one cut: schedules, shards, experts."""
        pipeline = degrees["pipeline_parallel"]
        microbatches = degrees["global_batch"] // (degrees["data_parallel"] * degrees["micro_batch"])
        experts = _expert_degrees(self.architecture, replicas, self.domain // tensor)
        zeros = (1, 3) if pipeline == 1 and replicas > 1 else (1,)
        for schedule, chunk in self._schedules(pipeline, microbatches):
            for zero in self._given("zero_stage", zeros):
                for shards in self._given("shard_ranks", self._shards(zero, replicas, tensor)):
                    for expert in self._given("expert_parallel", experts):
                        yield self._recomputing(
                            {
                                **degrees,
                                "schedule": schedule,
                                "interleave": chunk,
                                "zero_stage": zero,
                                "shard_ranks": shards,
                                "expert_parallel": expert,
                            }
                        )

    def _shards(self, zero_stage: int, replicas: int, tensor: int) -> tuple[int, ...]:
        """Return over how many replicas weights may be sharded: all, or those of a domain (HSDP)."""
        inside = self.domain // tensor
        whole = zero_stage == 3 and 1 < inside < replicas and replicas % inside == 0
        return (0, inside) if whole else (0,)

    def _recomputing(self, fields: dict[str, Any]) -> Iterator[Layout]:
        for recompute in self._given("recompute", RECOMPUTE_KINDS):
            try:
                layout = Layout(
                    **{
                        **fields,
                        "recompute": recompute,
                        "context_tokens": self.context_tokens,
                        "precision": self.precision,
                        "sequence_parallel": self.fixed.get("sequence_parallel", True),
                        "outermost": self.fixed.get("outermost", "pipeline"),
                    }
                )
                check_divides(self.architecture, layout)
            except LayoutError as error:
                self.first_trouble = self.first_trouble or error
                return
            yield layout

    def _given(self, name: str, options: Iterable[Any]) -> Iterable[Any]:
        return (self.fixed[name],) if name in self.fixed else options

    def _tensor_degrees(self) -> list[int]:
        return [degree for degree in _powers(self.domain) if self.architecture.heads % degree == 0]

    def _schedules(self, stages: int, microbatches: int) -> list[tuple[str, int]]:
        """Return (schedule, interleave) pairs worth trying."""
        ways = [("1f1b", chunk) for chunk in self._given("interleave", _chunks(self.architecture, stages))]
        if stages > 1 and microbatches >= stages and self.fixed.get("interleave", 1) == 1:
            ways.append(("zero-bubble", 1))
        wanted = self.fixed.get("schedule")
        if wanted is None:
            return ways
        return [way for way in ways if way[0] == wanted] or [(wanted, self.fixed.get("interleave", 1))]


def _powers(most: int) -> list[int]:
    return [1 << power for power in range(most.bit_length()) if 1 << power <= most]


def _stages(layers: int) -> list[int]:
    stages = [*_powers(min(layers, 64)), *(3 * power for power in _powers(21) if 3 * power <= layers)]
    return sorted(stages)


def _chunks(architecture: Architecture, stages: int) -> list[int]:
    """Return interleaves worth trying: none, half and all of the layers of a stage."""
    if stages == 1:
        return [1]
    layers = architecture.layers
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


def _runners_up(found: Sequence[TrainingProfile]) -> tuple[TrainingProfile, ...]:
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


def _memory(profile: TrainingProfile) -> TrainingMemory:
    return profile.memory or training_memory(profile.architecture, profile.layout)


def lost_to(profile: TrainingProfile, best: TrainingProfile) -> str:
    """Return in words what a slower layout loses its time to, for the same tokens.

    Parts that take longer than in ``best``, longest first, until they explain nine tenths of what
    is lost; what the layout saves elsewhere is said in one sum.
    """
    scale = best.unit_per_step / profile.unit_per_step
    mine, others = profile.breakdown, best.breakdown
    grown = {key: mine[key] * scale - others[key] for key in mine}
    lost = sorted((key for key in grown if grown[key] > 0.0), key=lambda key: (-grown[key], key))
    total_s = sum(grown[key] for key in lost)
    said: list[str] = []
    told_s = 0.0
    for key in lost:
        said.append(f"{PART_NAMES[key]} +{grown[key]:.2g} s")
        told_s += grown[key]
        if told_s >= 0.9 * total_s:
            break
    saved_s = -sum(seconds for seconds in grown.values() if seconds < 0.0)
    if saved_s > 0.1 * total_s:
        said.append(f"less of the rest -{saved_s:.2g} s")
    return ", ".join(said) or "no part of it longer"
