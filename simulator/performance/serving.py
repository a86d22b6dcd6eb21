"""How long one iteration of continuous batching takes, and at how many watts.

Time is integer picoseconds, so that a leap over k decode iterations equals k single ones
exactly. A roofline over the weights, a linear walk over remembered tokens, a quadratic one
over the prompt, two all-reduces a layer, and the host's own time. No queueing, no batching
rule: those are in ``simulator.serving``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.catalog.entries import GpuSpec
from simulator.foundation.errors import LayoutError
from simulator.hardware.power_curve import CLOCK_CURVE, GpuPower
from simulator.hardware.roofline import peak_16_bit_flop_per_s, peak_flop_per_s
from simulator.llm.architecture import Architecture
from simulator.llm.layout import PRECISION_BYTES
from simulator.llm.memory import kv_bytes_per_token, weight_bytes
from simulator.performance.coefficients import power_coefficients, serving_coefficients
from simulator.performance.gpu_power import gpu_power

PS_PER_S: Final = 1e12

#: Query-key pairs of a prompt are charged in 1/1024 ps: a pair costs a few hundred ps.
PAIR_SHIFT: Final = 10


@dataclass(frozen=True, eq=False)
class IterationTime:
    """Integer cost of one iteration, a sum of four terms.

    Parameters
    ----------
    tokens_ps
        (n,) int64 - cost of an iteration with i new tokens (prompt and decode together),
        host time, weights, arithmetic and all-reduces included; never decreasing. [ps]
    sequence_ps
        For each sequence in the batch. [ps]
    context_ps
        For each remembered token that a decoding sequence reads. [ps]
    pair_ps_1024
        For each pair of a new prompt token and a token it looks at, in 1/1024 ps.
    """

    tokens_ps: NDArray[np.int64]
    sequence_ps: int
    context_ps: int
    pair_ps_1024: int

    @property
    def most_tokens(self) -> int:
        """Return the widest iteration the table knows. [tokens]"""
        return len(self.tokens_ps) - 1

    def iteration_ps(
        self, new_tokens: int, sequences: int, context_tokens: int, prefill_pairs: int = 0
    ) -> int:
        """Return the time of one iteration. [ps]

        Parameters
        ----------
        new_tokens
            Prompt tokens plus one for each decoding sequence. [tokens]
        sequences
            Sequences in the batch, prompts among them. [count]
        context_tokens
            Sum over decoding sequences of the tokens each remembers. [tokens]
        prefill_pairs
            Sum over prompt chunks of n c + n (n + 1) / 2, for n new tokens after c earlier
            ones. [count]
        """
        return (
            int(self.tokens_ps[new_tokens])
            + self.sequence_ps * sequences
            + self.context_ps * context_tokens
            + (self.pair_ps_1024 * prefill_pairs >> PAIR_SHIFT)
        )

    def decode_ps(self, steps: int, sequences: int, context_tokens: int) -> int:
        """Return the time of ``steps`` decode iterations in a row with the same sequences. [ps]

        Exactly the sum of the single iterations: the context grows by one token a sequence
        each time.
        """
        one = int(self.tokens_ps[sequences]) + self.sequence_ps * sequences + self.context_ps * context_tokens
        return steps * one + self.context_ps * sequences * (steps * (steps - 1) // 2)


def prefill_pairs(new_tokens: int, earlier_tokens: int = 0) -> int:
    """Return the query-key pairs of a prompt chunk under a causal mask. [count]

    Examples
    --------
    >>> prefill_pairs(4), prefill_pairs(2) + prefill_pairs(2, 2)
    (10, 10)
    """
    return new_tokens * earlier_tokens + new_tokens * (new_tokens + 1) // 2


@dataclass(frozen=True, eq=False)
class ServingProfile:
    """Time and watts of one replica: a model on ``tensor_parallel`` GPUs at one clock.

    Parameters
    ----------
    iteration
        Integer cost of an iteration.
    weights_bytes
        Of one GPU. [B]
    kv_bytes_per_token
        Of one GPU. [B]
    """

    architecture: Architecture
    gpu: GpuSpec
    tensor_parallel: int
    precision: str
    kv_precision: str
    clock_fraction: float
    iteration: IterationTime
    weights_bytes: float
    kv_bytes_per_token: float
    power: GpuPower
    cpu_overhead_s: float
    cpu_overhead_per_sequence_s: float

    def at_clock(self, clock_fraction: float) -> ServingProfile:
        """Return the profile of the same replica at another clock."""
        if clock_fraction == self.clock_fraction:
            return self
        return serving_profile(
            self.architecture,
            self.gpu,
            tensor_parallel=self.tensor_parallel,
            precision=self.precision,
            kv_precision=self.kv_precision,
            clock_fraction=clock_fraction,
            cpu_overhead_s=self.cpu_overhead_s,
            cpu_overhead_per_sequence_s=self.cpu_overhead_per_sequence_s,
            most_tokens=self.iteration.most_tokens,
        )

    @property
    def idle_power_w(self) -> float:
        """Return watts of one GPU of a replica with nothing to do. [W]"""
        return self.power.loaded_idle_w

    @property
    def prefill_power_w(self) -> float:
        """Return watts of one GPU while it works on prompts. [W]"""
        share = power_coefficients(self.gpu.generation).prefill
        full = self.power.loaded_idle_w + share * (self.power.tdp_w - self.power.loaded_idle_w)
        return CLOCK_CURVE.power_w(full, self.power.floor_w, self.clock_fraction)

    def decode_power_w(self, sequences: float, context_tokens: float = 1024.0) -> float:
        """Return watts of one GPU while it decodes. [W]

        Parameters
        ----------
        sequences
            Sequences in the batch. [count]
        context_tokens
            Mean tokens that each remembers. [tokens]
        """
        if sequences <= 0:
            return self.idle_power_w
        batch = min(int(sequences), self.iteration.most_tokens)
        elapsed_s = self.iteration.iteration_ps(batch, batch, int(batch * context_tokens)) / PS_PER_S
        streamed = self.weights_bytes + self.kv_bytes_per_token * sequences * context_tokens
        bandwidth = streamed / elapsed_s / self.gpu.memory_bandwidth_bytes_per_s
        flop = 2.0 * self.architecture.matmul_parameters * sequences / self.tensor_parallel
        arithmetic = flop / elapsed_s / peak_flop_per_s(self.gpu, self.precision)
        share = power_coefficients(self.gpu.generation)
        drawn = share.decode_base + share.decode_memory * bandwidth + share.decode_compute * arithmetic
        span_w = self.power.tdp_w - self.power.loaded_idle_w
        full = self.power.loaded_idle_w + min(1.0, drawn) * span_w
        return CLOCK_CURVE.power_w(full, self.power.floor_w, self.clock_fraction)


def serving_profile(
    architecture: Architecture,
    gpu: GpuSpec,
    *,
    tensor_parallel: int,
    precision: str = "bf16",
    kv_precision: str = "bf16",
    clock_fraction: float = 1.0,
    cpu_overhead_s: float = 2e-3,
    cpu_overhead_per_sequence_s: float = 0.0,
    most_tokens: int = 8192,
) -> ServingProfile:
    """Return time and watts of one replica.

    Parameters
    ----------
    tensor_parallel
        GPUs of the replica, all in one scale-up domain. [count]
    precision, kv_precision
        Of the weights and of the remembered tokens.
    clock_fraction
        GPU clock as a fraction of its highest.
    cpu_overhead_s, cpu_overhead_per_sequence_s
        Host time of an iteration that no GPU work hides. [s]
    most_tokens
        Widest iteration to tabulate: the engine's token budget. [tokens]
    """
    if tensor_parallel < 1 or architecture.heads % tensor_parallel:
        raise LayoutError(
            f"{architecture.name}: tensor_parallel {tensor_parallel} does not divide "
            f"{architecture.heads} heads"
        )
    table = _tokens_s(
        architecture,
        gpu,
        tensor_parallel=tensor_parallel,
        precision=precision,
        clock_fraction=clock_fraction,
        most_tokens=most_tokens,
    )
    share = serving_coefficients(gpu.generation)
    bandwidth = gpu.memory_bandwidth_bytes_per_s
    stretch = CLOCK_CURVE.compute_stretch(clock_fraction)
    memory_stretch = CLOCK_CURVE.memory_stretch(clock_fraction)
    per_context = kv_bytes_per_token(architecture, kv_precision, tensor_parallel)
    context_s = per_context / (share.cache_efficiency * bandwidth) * memory_stretch
    widths = architecture.query_width + architecture.value_width
    pair_flop = 2.0 * architecture.layers * widths / tensor_parallel
    pair_s = pair_flop / (share.attention_efficiency * peak_16_bit_flop_per_s(gpu)) * stretch
    iteration = IterationTime(
        tokens_ps=np.rint((table + cpu_overhead_s) * PS_PER_S).astype(np.int64),
        sequence_ps=round((share.sequence_s + cpu_overhead_per_sequence_s) * PS_PER_S),
        context_ps=max(1, round(context_s * PS_PER_S)),
        pair_ps_1024=max(1, round(pair_s * PS_PER_S * (1 << PAIR_SHIFT))),
    )
    iteration.tokens_ps.flags.writeable = False
    return ServingProfile(
        architecture=architecture,
        gpu=gpu,
        tensor_parallel=tensor_parallel,
        precision=precision,
        kv_precision=kv_precision,
        clock_fraction=clock_fraction,
        iteration=iteration,
        weights_bytes=weight_bytes(architecture, precision) / tensor_parallel,
        kv_bytes_per_token=per_context,
        power=gpu_power(gpu),
        cpu_overhead_s=cpu_overhead_s,
        cpu_overhead_per_sequence_s=cpu_overhead_per_sequence_s,
    )


def _tokens_s(
    architecture: Architecture,
    gpu: GpuSpec,
    *,
    tensor_parallel: int,
    precision: str,
    clock_fraction: float,
    most_tokens: int,
) -> NDArray[np.float64]:
    """Return seconds of an iteration by new tokens, without host, context and prompt pairs."""
    share = serving_coefficients(gpu.generation)
    tokens = np.arange(most_tokens + 1, dtype=np.float64)
    size = PRECISION_BYTES[precision]
    experts = architecture.moe_layers * architecture.experts * architecture.expert_parameters
    resident = (architecture.layer_parameters - experts) * size
    resident += architecture.embedding_parameters * max(2.0, size)
    touched = np.zeros_like(tokens)
    if architecture.experts:
        chance = architecture.experts_per_token / architecture.experts
        touched = experts * size * (1.0 - (1.0 - chance) ** tokens)
    streamed_s = (resident + touched) / tensor_parallel
    streamed_s /= share.weight_efficiency * gpu.memory_bandwidth_bytes_per_s
    streamed_s *= CLOCK_CURVE.memory_stretch(clock_fraction)
    peak = peak_flop_per_s(gpu, precision)
    arithmetic_s = 2.0 * architecture.matmul_parameters * tokens / tensor_parallel
    arithmetic_s /= share.gemm_efficiency * peak
    arithmetic_s *= CLOCK_CURVE.compute_stretch(clock_fraction)
    # Neither hides the other fully where they are alike: a fourth-power corner.
    roofline_s = (streamed_s**4 + arithmetic_s**4) ** 0.25
    fixed_s = architecture.layers * share.layer_s * CLOCK_CURVE.compute_stretch(clock_fraction)
    reduce_s = np.zeros_like(tokens)
    if tensor_parallel > 1:
        moved = 2.0 * (tensor_parallel - 1) / tensor_parallel * 2.0 * architecture.hidden * tokens
        wire_s = moved / (share.reduce_efficiency * gpu.scale_up_bandwidth_bytes_per_s)
        reduce_s = 2.0 * architecture.layers * (share.reduce_s + wire_s)
    total: NDArray[np.float64] = roofline_s + fixed_s + reduce_s
    return np.maximum.accumulate(total)
