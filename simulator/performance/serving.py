"""How long one iteration of continuous batching takes, and at how many watts.

Time is integer picoseconds, so that a leap over k decode iterations equals k single ones
exactly. A roofline over the weights, a linear walk over remembered tokens, a quadratic one
over the prompt, two all-reduces a layer, and the host's own time. No queueing, no batching
rule: those are in ``simulator.serving``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from simulator.catalog.entries import GpuSpec
from simulator.foundation.errors import LayoutError
from simulator.hardware.power_curve import CLOCK_CURVE, GpuPower
from simulator.hardware.roofline import peak_16_bit_flop_per_s, peak_flop_per_s
from simulator.llm.architecture import Architecture
from simulator.llm.layout import PRECISION_BYTES
from simulator.llm.memory import kv_bytes_per_token, weight_bytes
from simulator.performance.gpu_power import gpu_power
from simulator.performance.serving_coefficients import (
    PowerCoefficients,
    ServingCoefficients,
    power_coefficients,
    serving_coefficients,
)

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

    #: Several iterations of one batch have a closed form.
    linear_in_context: ClassVar[bool] = True

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

    def step_ps(self, decodes: int, context_tokens: int, chunks: Sequence[tuple[int, int]] = ()) -> int:
        """Return the time of one iteration; see ``IterationTable.step_ps``. [ps]"""
        return self.iteration_ps(
            decodes + sum(new for new, _ in chunks),
            decodes + len(chunks),
            context_tokens,
            sum(prefill_pairs(new, earlier) for new, earlier in chunks),
        )

    def slowed(self, stretch: float) -> IterationTime:
        """Return this cost with every time multiplied."""
        return IterationTime(
            tokens_ps=np.rint(self.tokens_ps * stretch).astype(np.int64),
            sequence_ps=round(self.sequence_ps * stretch),
            context_ps=round(self.context_ps * stretch),
            pair_ps_1024=round(self.pair_ps_1024 * stretch),
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
    given_w
        Watts of one GPU at full clock, busy or idle, that somebody gave in place of the power
        model; None: the model's. [W]
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
    power_share: PowerCoefficients
    cpu_overhead_s: float
    cpu_overhead_per_sequence_s: float
    overlaps_cpu: bool
    given_w: float | None = None

    def drawing(self, given_w: float) -> ServingProfile:
        """Return the same replica with given watts of one GPU in place of the power model. [W]"""
        return replace(self, given_w=given_w)

    def at_clock(self, clock_fraction: float) -> ServingProfile:
        """Return the profile of the same replica at another clock."""
        if clock_fraction == self.clock_fraction:
            return self
        other = serving_profile(
            self.architecture,
            self.gpu,
            tensor_parallel=self.tensor_parallel,
            precision=self.precision,
            kv_precision=self.kv_precision,
            clock_fraction=clock_fraction,
            cpu_overhead_s=self.cpu_overhead_s,
            cpu_overhead_per_sequence_s=self.cpu_overhead_per_sequence_s,
            overlaps_cpu=self.overlaps_cpu,
            most_tokens=self.iteration.most_tokens,
        )
        return replace(other, given_w=self.given_w)

    @property
    def idle_power_w(self) -> float:
        """Return watts of one GPU of a replica with nothing to do. [W]"""
        return self.power.loaded_idle_w if self.given_w is None else self._slowed_w(self.given_w)

    @property
    def prefill_power_w(self) -> float:
        """Return watts of one GPU while it works on prompts. [W]"""
        full = self.power_share.prefill * self.power.tdp_w
        return self._slowed_w(full if self.given_w is None else self.given_w)

    @property
    def most_power_w(self) -> float:
        """Return watts of one GPU that nothing this replica does exceeds: its design power's. [W]"""
        full = self.power.tdp_w if self.given_w is None else self.given_w
        return max(self._slowed_w(full), self.idle_power_w)

    def decode_power_w(self, sequences: float, context_tokens: float = 1024.0) -> float:
        """Return watts of one GPU while it decodes. [W]

        Parameters
        ----------
        sequences
            Sequences in the batch. [count]
        context_tokens
            Mean tokens that each remembers. [tokens]
        """
        if sequences < 0.5:
            return self.idle_power_w
        return self.iteration_power_w(
            new_tokens=round(sequences),
            sequences=round(sequences),
            context_tokens=int(sequences * context_tokens),
        )

    def streamed_weights_bytes(self, new_tokens: int) -> float:
        """Return bytes of weights that one GPU reads in an iteration: all but idle experts. [B]"""
        architecture = self.architecture
        if not architecture.experts:
            return self.weights_bytes
        routed = architecture.moe_layers * architecture.experts * architecture.expert_parameters
        chance = architecture.experts_per_token / architecture.experts
        idle = (1.0 - chance) ** new_tokens
        return self.weights_bytes * (1.0 - idle * routed / architecture.parameters)

    def iteration_power_w(
        self, *, new_tokens: int, sequences: int, context_tokens: int, prefill_pairs: int = 0
    ) -> float:
        """Return mean watts of one GPU over one iteration; arguments as ``iteration_ps``. [W]

        A floor for being at work at all, and parts that grow with the memory bandwidth and
        with the arithmetic in use.
        """
        if self.given_w is not None:
            return self._slowed_w(self.given_w)
        share = self.power_share
        table_tokens = min(new_tokens, self.iteration.most_tokens)
        elapsed_s = (
            self.iteration.iteration_ps(table_tokens, sequences, context_tokens, prefill_pairs) / PS_PER_S
        )
        streamed = self.streamed_weights_bytes(new_tokens) + self.kv_bytes_per_token * context_tokens
        bandwidth = streamed / elapsed_s / self.gpu.memory_bandwidth_bytes_per_s
        flop = 2.0 * self.architecture.matmul_parameters * new_tokens / self.tensor_parallel
        arithmetic = flop / elapsed_s / peak_flop_per_s(self.gpu, self.precision)
        drawn = (
            share.decode_base + share.decode_memory * bandwidth + share.decode_compute * math.sqrt(arithmetic)
        )
        return self._slowed_w(max(self.power.loaded_idle_w, min(1.0, drawn) * self.power.tdp_w))

    def _slowed_w(self, full_w: float) -> float:
        return CLOCK_CURVE.power_w(full_w, self.power.floor_w, self.clock_fraction)


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
    overlaps_cpu: bool = True,
    most_tokens: int = 8192,
    coefficients: ServingCoefficients | None = None,
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
        Host time of an iteration, and of each sequence in it. [s]
    overlaps_cpu
        The host's time hides behind the GPU's, so that the longer counts; else both do. What
        an overlapping host still costs for each sequence is in the coefficients.
    most_tokens
        Widest iteration to tabulate: the engine's token budget. [tokens]
    coefficients
        Efficiencies to use instead of the generation's; for calibration.
    """
    if tensor_parallel < 1 or architecture.heads % tensor_parallel:
        raise LayoutError(
            f"{architecture.name}: tensor_parallel {tensor_parallel} does not divide "
            f"{architecture.heads} heads"
        )
    share = coefficients or serving_coefficients(gpu.generation)
    table = _tokens_s(
        architecture,
        gpu,
        share,
        tensor_parallel=tensor_parallel,
        precision=precision,
        clock_fraction=clock_fraction,
        most_tokens=most_tokens,
    )
    bandwidth = gpu.memory_bandwidth_bytes_per_s
    stretch = CLOCK_CURVE.compute_stretch(clock_fraction)
    memory_stretch = CLOCK_CURVE.memory_stretch(clock_fraction)
    per_context = kv_bytes_per_token(architecture, kv_precision, tensor_parallel)
    context_s = per_context / (share.cache_efficiency * bandwidth) * memory_stretch
    widths = architecture.query_width + architecture.value_width
    pair_flop = 2.0 * architecture.layers * widths / tensor_parallel
    pair_s = pair_flop / (share.attention_efficiency * peak_16_bit_flop_per_s(gpu)) * stretch
    if overlaps_cpu:
        table = np.maximum(table, cpu_overhead_s)
        sequence_s = max(share.sequence_s, cpu_overhead_per_sequence_s)
    else:
        table += cpu_overhead_s
        sequence_s = share.sequence_s + cpu_overhead_per_sequence_s
    iteration = IterationTime(
        tokens_ps=np.rint(table * PS_PER_S).astype(np.int64),
        sequence_ps=round(sequence_s * PS_PER_S),
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
        power_share=power_coefficients(gpu.generation),
        cpu_overhead_s=cpu_overhead_s,
        cpu_overhead_per_sequence_s=cpu_overhead_per_sequence_s,
        overlaps_cpu=overlaps_cpu,
    )


def _tokens_s(
    architecture: Architecture,
    gpu: GpuSpec,
    share: ServingCoefficients,
    *,
    tensor_parallel: int,
    precision: str,
    clock_fraction: float,
    most_tokens: int,
) -> NDArray[np.float64]:
    """Return seconds of an iteration by new tokens, without host, context and prompt pairs."""
    tokens = np.arange(most_tokens + 1, dtype=np.float64)
    size = PRECISION_BYTES[precision]
    compute_stretch = CLOCK_CURVE.compute_stretch(clock_fraction)
    memory_stretch = CLOCK_CURVE.memory_stretch(clock_fraction)
    bytes_per_s = share.weight_efficiency * gpu.memory_bandwidth_bytes_per_s * tensor_parallel
    flop_per_s = share.gemm_efficiency * peak_flop_per_s(gpu, precision) * tensor_parallel
    routed = architecture.moe_layers * architecture.experts * architecture.expert_parameters
    resident = (architecture.layer_parameters - routed) * size
    resident += architecture.embedding_parameters * max(2.0, size)
    visited = architecture.moe_layers * architecture.experts_per_token * architecture.expert_parameters
    streamed_s = np.full_like(tokens, resident / bytes_per_s * memory_stretch)
    arithmetic_s = 2.0 * (architecture.matmul_parameters - visited) * tokens / flop_per_s
    total = _corner(streamed_s, arithmetic_s * compute_stretch)
    fixed_s = architecture.layers * share.layer_s
    if architecture.experts:
        chance = architecture.experts_per_token / architecture.experts
        touched = routed * size * (1.0 - (1.0 - chance) ** tokens)
        streamed_s = touched / (share.expert_efficiency * bytes_per_s) * memory_stretch
        arithmetic_s = 2.0 * visited * tokens / (share.expert_efficiency * flop_per_s)
        total += _corner(streamed_s, arithmetic_s * compute_stretch)
        fixed_s += architecture.moe_layers * share.expert_layer_s
    total += fixed_s * compute_stretch
    if tensor_parallel > 1:
        moved = 2.0 * (tensor_parallel - 1) / tensor_parallel * 2.0 * architecture.hidden * tokens
        wire_s = moved / (share.reduce_efficiency * gpu.scale_up_bandwidth_bytes_per_s)
        total += 2.0 * architecture.layers * (share.reduce_s + wire_s)
    return np.maximum.accumulate(total)


def _corner(streamed_s: NDArray[np.float64], arithmetic_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a roofline with a round corner: where both are alike, neither hides the other."""
    rounded: NDArray[np.float64] = (streamed_s**4 + arithmetic_s**4) ** 0.25
    return rounded
