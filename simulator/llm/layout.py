"""How one training job is cut over its GPUs: the parallel degrees and the batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from simulator.foundation.errors import LayoutError
from simulator.foundation.names import nearest

#: What the backward pass computes again instead of keeping: nothing; what is large and cheap,
#: which is the attention core (Korthikanti et al. 2022) or, where that is fused, norms and
#: activations; or the whole forward pass.
RECOMPUTE_KINDS = ("none", "selective", "full")

#: Order of a pipeline's passes: one forward, one backward (interleaved when a stage has several
#: chunks); with weight gradients put off into the idle time; and fed from both ends.
PIPELINE_SCHEDULES = ("1f1b", "zero-bubble", "dualpipe")

#: Which ranks lie farthest apart: those of a pipeline, or copies of the model.
OUTERMOST = ("pipeline", "data")

#: Number formats of the matrix multiplications, and bytes of one value.
PRECISION_BYTES = {"fp32": 4.0, "tf32": 4.0, "fp16": 2.0, "bf16": 2.0, "fp8": 1.0, "fp4": 0.5}


@dataclass(frozen=True, slots=True)
class Layout:
    """Parallel degrees, batch and memory savers of one training job.

    Ranks are numbered tensor parallel innermost, then context; what comes last says
    ``outermost``. Expert parallelism takes its ranks out of the data-parallel ones.

    Parameters
    ----------
    tensor_parallel, pipeline_parallel, data_parallel, context_parallel
        Their product is the number of GPUs. [count]
    expert_parallel
        Ranks among which the experts are dealt; 1 for a dense model. They are data- and
        context-parallel ranks, and tensor-parallel ones where it is wider than those. [count]
    interleave
        Model chunks (virtual stages) on each pipeline stage. [count]
    schedule
        ``1f1b`` (interleaved where ``interleave`` is above 1), ``zero-bubble`` or ``dualpipe``;
        without effect on a single stage, which is refused.
    micro_batch
        Sequences of one forward pass on one replica. [sequences]
    global_batch
        Sequences of one optimiser step over all replicas. [sequences]
    context_tokens
        Tokens of one sequence. [tokens]
    sequence_parallel
        Norms and dropouts are split over the tensor-parallel ranks too.
    recompute
        ``none``, ``selective`` (what is large and cheap) or ``full``.
    zero_stage
        0 keeps everything, 1 shards the optimiser, 2 also gradients, 3 also weights (FSDP).
    shard_ranks
        Replicas over which ``zero_stage`` shards, a part of all (hybrid sharding, HSDP): the
        shards are replicated over the others. 0 for all of them. [count]
    outermost
        ``pipeline``: copies of a stage are neighbours, stages lie far apart, as Megatron-LM,
        DeepSpeed and torchtitan number ranks; ``data``: the stages of a copy are neighbours and
        gradients travel far, as Llama 3 does. The same without stages or copies.
    precision
        Of the matrix multiplications: fp32, tf32, fp16, bf16, fp8 or fp4.
    fused_attention
        True if attention never writes its scores to memory (flash attention); False for
        the unfused kernels of 2021 and before.
    """

    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    data_parallel: int = 1
    context_parallel: int = 1
    expert_parallel: int = 1
    interleave: int = 1
    micro_batch: int = 1
    global_batch: int = 1
    context_tokens: int = 2048
    sequence_parallel: bool = True
    recompute: str = "none"
    zero_stage: int = 1
    precision: str = "bf16"
    fused_attention: bool = True
    schedule: str = "1f1b"
    shard_ranks: int = 0
    outermost: str = "pipeline"

    def __post_init__(self) -> None:
        """Refuse degrees that contradict each other."""
        for name in (
            "tensor_parallel",
            "pipeline_parallel",
            "data_parallel",
            "context_parallel",
            "expert_parallel",
            "interleave",
            "micro_batch",
            "global_batch",
            "context_tokens",
        ):
            value = getattr(self, name)
            if value < 1:
                raise LayoutError(f"layout: {name} is {value}; expected a whole number of at least 1")
        if self.recompute not in RECOMPUTE_KINDS:
            raise LayoutError(_unknown("recompute", self.recompute, RECOMPUTE_KINDS))
        if self.precision not in PRECISION_BYTES:
            raise LayoutError(_unknown("precision", self.precision, tuple(PRECISION_BYTES)))
        if self.zero_stage not in (0, 1, 2, 3):
            raise LayoutError(f"layout: zero_stage is {self.zero_stage}; expected 0, 1, 2 or 3")
        replicas = self.data_parallel * self.micro_batch
        if self.global_batch % replicas:
            low = max(replicas, self.global_batch // replicas * replicas)
            raise LayoutError(
                f"layout: global_batch {self.global_batch} is not a multiple of data_parallel "
                f"{self.data_parallel} x micro_batch {self.micro_batch} = {replicas}; "
                f"nearest good: {low}"
            )
        if self.expert_parallel > 1:
            self._check_experts()
        if self.interleave > 1 and self.pipeline_parallel == 1:
            raise LayoutError(f"layout: interleave {self.interleave} needs pipeline_parallel of at least 2")
        if self.schedule != "1f1b":
            self._check_schedule()
        if self.shard_ranks:
            self._check_shards()
        if self.outermost != "pipeline":
            self._check_order()

    def _check_schedule(self) -> None:
        if self.schedule not in PIPELINE_SCHEDULES:
            raise LayoutError(_unknown("schedule", self.schedule, PIPELINE_SCHEDULES))
        stages = self.pipeline_parallel
        if stages == 1:
            raise LayoutError(f"layout: schedule {self.schedule} needs pipeline_parallel of at least 2")
        if self.interleave > 1:
            raise LayoutError(
                f"layout: schedule {self.schedule} has chunks of its own; interleave is "
                f"{self.interleave}, expected 1"
            )
        if self.schedule == "dualpipe" and stages % 2:
            raise LayoutError(
                f"layout: schedule dualpipe feeds from both ends; pipeline_parallel {stages} is odd; "
                f"nearest good: {stages + 1}"
            )
        fewest = 2 * stages if self.schedule == "dualpipe" else stages
        if self.microbatches < fewest:
            raise LayoutError(
                f"layout: schedule {self.schedule} over {stages} stages needs {fewest} micro-batches "
                f"or more, and global_batch {self.global_batch} gives {self.microbatches}; nearest "
                f"good: {fewest * self.data_parallel * self.micro_batch}"
            )

    def _check_order(self) -> None:
        if self.outermost not in OUTERMOST:
            raise LayoutError(_unknown("outermost", self.outermost, OUTERMOST))
        if self.pipeline_parallel == 1:
            raise LayoutError("layout: outermost data has no effect with pipeline_parallel 1")
        if self.expert_parallel > 1:
            raise LayoutError(
                "layout: outermost data would lay the data-parallel ranks far apart among which "
                f"experts are dealt; expert_parallel is {self.expert_parallel}, expected 1"
            )

    def _check_experts(self) -> None:
        replicas = self.data_parallel * self.context_parallel
        borrowed = self.expert_parallel // math.gcd(self.expert_parallel, replicas)
        if self.tensor_parallel % borrowed:
            raise LayoutError(
                f"layout: expert_parallel {self.expert_parallel} must divide data_parallel x "
                f"context_parallel = {replicas}, or that times a part of tensor_parallel "
                f"{self.tensor_parallel}; nearest good: {math.gcd(self.expert_parallel, replicas)}"
            )

    def _check_shards(self) -> None:
        if not self.zero_stage:
            raise LayoutError(
                f"layout: shard_ranks {self.shard_ranks} has no effect with zero_stage 0, "
                "which shards nothing"
            )
        replicas = self.data_parallel * self.context_parallel
        if self.shard_ranks < 0 or replicas % self.shard_ranks:
            raise LayoutError(
                f"layout: shard_ranks {self.shard_ranks} must divide data_parallel x context_parallel "
                f"= {replicas}"
            )

    @property
    def gpus(self) -> int:
        """Return the number of GPUs. [count]"""
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel * self.context_parallel

    @property
    def replica_gpus(self) -> int:
        """Return the GPUs that hold one copy of the model. [count]"""
        return self.tensor_parallel * self.pipeline_parallel * self.context_parallel

    @property
    def expert_tensor_parallel(self) -> int:
        """Return the ranks over which one expert is cut. [count]

        The tensor-parallel ones, less those that expert parallelism takes because it is wider than
        data and context parallelism.
        """
        if self.expert_parallel == 1:
            return self.tensor_parallel
        replicas = self.data_parallel * self.context_parallel
        return self.tensor_parallel * math.gcd(self.expert_parallel, replicas) // self.expert_parallel

    @property
    def microbatches(self) -> int:
        """Return the micro-batches each replica works through in a step. [count]"""
        return self.global_batch // (self.data_parallel * self.micro_batch)

    @property
    def tokens_per_step(self) -> float:
        """Return the tokens of one optimiser step. [tokens]"""
        return float(self.global_batch * self.context_tokens)

    def with_data_parallel(self, data_parallel: int) -> Layout:
        """Return this layout with other replicas and the nearest global batch that divides."""
        unit = data_parallel * self.micro_batch
        batch = max(unit, round(self.global_batch / unit) * unit)
        shards = self.shard_ranks and math.gcd(self.shard_ranks, data_parallel * self.context_parallel)
        return replace(self, data_parallel=data_parallel, global_batch=batch, shard_ranks=shards)

    def describe(self) -> str:
        """Return the degrees that differ from 1, for people: ``tp8 pp16 dp64 mb1``."""
        parts = (
            ("tp", self.tensor_parallel),
            ("pp", self.pipeline_parallel),
            ("vp", self.interleave),
            ("cp", self.context_parallel),
            ("ep", self.expert_parallel),
            ("dp", self.data_parallel),
        )
        words = [f"{name}{value}" for name, value in parts if value > 1]
        words.append(f"mb{self.micro_batch}")
        if self.schedule != "1f1b":
            words.append(self.schedule)
        if self.recompute != "none":
            words.append(f"recompute-{self.recompute}")
        if self.zero_stage:
            words.append(f"zero{self.zero_stage}" + (f"/{self.shard_ranks}" if self.shard_ranks else ""))
        if self.outermost == "data":
            words.append("dp-outermost")
        return " ".join(words)


def _unknown(field: str, value: str, known: tuple[str, ...]) -> str:
    near = nearest(value, known)
    hint = f"; did you mean {near!r}?" if near else ";"
    return f"layout: {field} is {value!r}{hint} known: {', '.join(known)}"
