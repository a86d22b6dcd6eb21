"""How long one iteration of continuous batching takes, and at how many watts.

Time is integer picoseconds, so that a leap over k decode iterations equals k single ones
exactly. A roofline over the weights, a linear walk over remembered tokens, a quadratic one
over the prompt, two all-reduces a layer, and the host's own time. No queueing, no batching
rule: those are in ``simulator.serving``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from simulator.catalog.entries import GpuSpec
from simulator.hardware.power_curve import GpuPower
from simulator.llm.architecture import Architecture
from simulator.llm.memory import kv_bytes_per_token, weight_bytes, weight_bytes_per_gpu
from simulator.llm.number_formats import CACHES, weight_format
from simulator.performance.decoder_time import Deployment, Pass, attention_cost
from simulator.performance.gpu_power import gpu_power
from simulator.performance.iteration_table import IterationTable
from simulator.performance.iteration_work import (
    executed_flop,
    streamed_context_tokens,
    streamed_weights_bytes,
)
from simulator.performance.measured_gpu import kernels_of
from simulator.performance.power_coefficients import Load, PowerCoefficients, power_coefficients
from simulator.performance.serving_coefficients import (
    EngineCoefficients,
    ServingCoefficients,
    engine_coefficients,
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
    mixed_context_ps
        `context_ps` in an iteration that holds prompt tokens, too; None: the same. [ps]
    attention_groups
        Groups of GPUs that split the batch and advance together; all costs are for a batch that
        is spread evenly over them.
    experts_ps
        (n,) int64 - the part of `tokens_ps` that goes with the tokens of all groups, the rest
        with those of the group that has most; None: no part. [ps]
    """

    tokens_ps: NDArray[np.int64]
    sequence_ps: int
    context_ps: int
    pair_ps_1024: int
    mixed_context_ps: int | None = None
    attention_groups: int = 1
    experts_ps: NDArray[np.int64] | None = None

    #: Several iterations of one batch have a closed form.
    linear_in_context: ClassVar[bool] = True

    @property
    def beside_prompts_ps(self) -> int:
        """Return the cost of a remembered token in an iteration that holds prompts, too. [ps]"""
        return self.context_ps if self.mixed_context_ps is None else self.mixed_context_ps

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
            + (self.beside_prompts_ps if prefill_pairs else self.context_ps) * context_tokens
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
            mixed_context_ps=round(self.beside_prompts_ps * stretch),
            attention_groups=self.attention_groups,
            experts_ps=None
            if self.experts_ps is None
            else np.rint(self.experts_ps * stretch).astype(np.int64),
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
    roofline
        Integer cost of an iteration as modelled.
    weights_bytes
        Of one GPU, were no weight of the replica there twice. [B]
    copied_bytes
        What a GPU has beside that: every attention group has all weights but the experts'. [B]
    kv_bytes_per_token
        Of one GPU. [B]
    engaged_ps, arithmetic_ps
        (n,) int64 - the part of ``roofline.tokens_ps`` in which kernels compute or stream, and what
        of it arithmetic alone would take. [ps]
    sequence_waits_ps
        The part of ``roofline.sequence_ps`` in which the GPU waits for its host. [ps]
    captured_tokens
        As of ``serving_profile``. [tokens]
    given_w
        Watts of one GPU at full clock, busy or idle, that somebody gave in place of the power
        model; None: the model's. [W]
    measured
        Times at full clock that replace the roofline's, if any.
    """

    architecture: Architecture
    gpu: GpuSpec
    deployment: Deployment
    precision: str
    kv_precision: str
    clock_fraction: float
    roofline: IterationTime
    weights_bytes: float
    copied_bytes: float
    kv_bytes_per_token: float
    power: GpuPower
    power_share: PowerCoefficients
    engine: str
    engine_law: EngineCoefficients
    cpu_overhead_s: float
    cpu_overhead_per_sequence_s: float
    overlaps_cpu: bool
    engaged_ps: NDArray[np.int64]
    arithmetic_ps: NDArray[np.int64]
    sequence_waits_ps: int
    captured_tokens: int | None = None
    given_w: float | None = None
    measured: IterationTable | None = None

    def timed_by(self, table: IterationTable) -> ServingProfile:
        """Return the same replica with measured times in place of the roofline.

        They hold at full clock; at a lower one everything is taken to stretch as arithmetic
        does, because a measurement does not say what bound it.
        """
        return replace(self, measured=table)

    @cached_property
    def iteration(self) -> IterationTime | IterationTable:
        """Return the integer cost of an iteration: measured where that is given, else modelled."""
        if self.measured is None:
            return self.roofline
        return self.measured.slowed(self.power.curve.compute_stretch(self.clock_fraction))

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
            tensor_parallel=self.deployment.tensor_parallel,
            attention_data_parallel=self.deployment.attention_data_parallel,
            expert_parallel=self.deployment.expert_parallel,
            domains=self.deployment.domains,
            engine=self.engine,
            precision=self.precision,
            kv_precision=self.kv_precision,
            clock_fraction=clock_fraction,
            cpu_overhead_s=self.cpu_overhead_s,
            cpu_overhead_per_sequence_s=self.cpu_overhead_per_sequence_s,
            overlaps_cpu=self.overlaps_cpu,
            most_tokens=self.roofline.most_tokens,
            captured_tokens=self.captured_tokens,
        )
        other = replace(other, given_w=self.given_w)
        return other if self.measured is None else other.timed_by(self.measured)

    @property
    def idle_power_w(self) -> float:
        """Return watts of one GPU of a replica with nothing to do. [W]"""
        return self.power.loaded_idle_w if self.given_w is None else self._slowed_w(self.given_w)

    def prompt_power_w(self, new_tokens: float) -> float:
        """Return watts of one GPU over an iteration of prompt tokens, one prompt in each group. [W]

        Parameters
        ----------
        new_tokens
            Of the whole replica. [tokens]
        """
        groups = self.deployment.attention_data_parallel
        each = max(1, round(new_tokens / groups))
        return self.iteration_power_w(
            new_tokens=groups * each,
            sequences=groups,
            context_tokens=0,
            prefill_pairs=groups * prefill_pairs(each),
        )

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
        once = streamed_weights_bytes(self.architecture, self.weights_bytes, new_tokens)
        return once + self.copied_bytes

    def iteration_power_w(
        self, *, new_tokens: int, sequences: int, context_tokens: int, prefill_pairs: int = 0
    ) -> float:
        """Return mean watts of one GPU over one iteration; arguments as ``iteration_ps``. [W]"""
        full = self._at_full_clock
        elapsed_s = full._elapsed_s(new_tokens, sequences, context_tokens, prefill_pairs)
        return self.power_w(full.load(elapsed_s, new_tokens, sequences, context_tokens, prefill_pairs))

    @cached_property
    def _at_full_clock(self) -> ServingProfile:
        return self.at_clock(1.0)

    def power_w(self, load: Load) -> float:
        """Return watts of one GPU under what is this load at full clock. [W]

        The curve of the clock says what is left of the watts at full clock, the pace of the work
        included: a load that has slowed with the clock would count it twice.
        """
        if self.given_w is not None:
            return self._slowed_w(self.given_w)
        tdp_w = self.power.tdp_w
        drawn: float = self.power_share.drawn(self.power.loaded_idle_w / tdp_w, load)
        return self._slowed_w(max(self.power.loaded_idle_w, min(1.0, drawn) * tdp_w))

    def load(
        self,
        elapsed_s: float,
        new_tokens: int,
        sequences: int,
        context_tokens: int,
        prefill_pairs: int = 0,
    ) -> Load:
        """Return what one GPU does over an iteration that takes so long; see ``iteration_ps``.

        What is beyond the modelled work of the kernels is waiting: for launches, for other GPUs, for
        the host. So a measured time may be given in place of the modelled one.
        """
        place = min(new_tokens, self.roofline.most_tokens)
        modelled_ps = self.roofline.iteration_ps(place, sequences, context_tokens, prefill_pairs)
        engaged_ps = modelled_ps - int(self.roofline.tokens_ps[place]) + int(self.engaged_ps[place])
        engaged_ps -= self.sequence_waits_ps * sequences
        arithmetic_ps = int(self.arithmetic_ps[place])
        arithmetic_ps += self.roofline.pair_ps_1024 * prefill_pairs >> PAIR_SHIFT
        streamed = self.streamed_weights_bytes(new_tokens)
        streamed += self.kv_bytes_per_token * streamed_context_tokens(
            self.architecture, sequences, context_tokens
        )
        flop = executed_flop(
            self.architecture,
            self.deployment,
            self.precision,
            self.gpu,
            new_tokens=new_tokens,
            sequences=sequences,
            prefill_pairs=prefill_pairs,
        )
        executed = flop / elapsed_s / weight_format(self.precision).peak_flop_per_s(self.gpu)
        return Load(
            working=min(1.0, engaged_ps / PS_PER_S / elapsed_s),
            streaming=streamed / elapsed_s / self.gpu.memory_bandwidth_bytes_per_s,
            computing=math.sqrt(executed * min(1.0, arithmetic_ps / PS_PER_S / elapsed_s)),
        )

    def _elapsed_s(self, new_tokens: int, sequences: int, context_tokens: int, pairs: int) -> float:
        """Return the time of an iteration, the widest known where it is wider. [s]"""
        cost = self.iteration
        tokens = min(new_tokens, cost.most_tokens)
        if isinstance(cost, IterationTime):
            return cost.iteration_ps(tokens, sequences, context_tokens, pairs) / PS_PER_S
        prompt = tokens - sequences
        chunks = [(prompt, 0)] if prompt > 0 else []
        return cost.step_ps(min(sequences, tokens), context_tokens, chunks) / PS_PER_S

    def _slowed_w(self, full_w: float) -> float:
        return self.power.curve.power_w(full_w, self.power.floor_w, self.clock_fraction)


def serving_profile(
    architecture: Architecture,
    gpu: GpuSpec,
    *,
    tensor_parallel: int,
    attention_data_parallel: int = 1,
    expert_parallel: int = 1,
    domains: int = 1,
    engine: str = "vllm",
    precision: str = "bf16",
    kv_precision: str = "bf16",
    clock_fraction: float = 1.0,
    cpu_overhead_s: float = 2e-3,
    cpu_overhead_per_sequence_s: float = 0.0,
    overlaps_cpu: bool = True,
    most_tokens: int = 8192,
    captured_tokens: int | None = None,
    coefficients: ServingCoefficients | None = None,
    engine_law: EngineCoefficients | None = None,
) -> ServingProfile:
    """Return time and watts of one replica.

    Parameters
    ----------
    tensor_parallel
        GPUs that share one attention, all in one scale-up domain. [count]
    attention_data_parallel
        Such groups in the replica, which split the batch and advance together. [count]
    expert_parallel
        GPUs that the experts are dealt over. [count]
    domains
        Scale-up domains that the replica lies in. [count]
    engine
        Whose software: ``vllm``, ``sglang`` or ``trtllm``.
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
    captured_tokens
        Widest iteration whose launches were captured in a graph; None: the engine's. [tokens]
    coefficients, engine_law
        To use instead of the generation's and the engine's; for calibration.
    """
    deployment = Deployment(tensor_parallel, attention_data_parallel, expert_parallel, domains)
    deployment.check(architecture)
    work = Pass(
        architecture=architecture,
        gpu=gpu,
        deployment=deployment,
        precision=precision,
        law=coefficients or kernels_of(gpu),
        engine=engine_law or engine_coefficients(engine, gpu.generation),
        clock_fraction=clock_fraction,
        captured_tokens=captured_tokens,
    )

    def picoseconds(seconds: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.int64]:
        return np.rint(_by_token(seconds, most_tokens) * PS_PER_S).astype(np.int64)

    attention = attention_cost(work, CACHES[kv_precision])
    table = _by_token(lambda tokens: work.seconds(tokens) + attention.token_s * tokens, most_tokens)
    experts = None
    if attention_data_parallel > 1 and not work.engine.pads_groups:
        experts = picoseconds(work.experts_s)
    kernels_sequence_s = attention.sequence_s + work.engine.sequence_s / attention_data_parallel
    sequence_s = kernels_sequence_s
    # Every group has a host process of its own.
    host_sequence_s = cpu_overhead_per_sequence_s / attention_data_parallel
    if overlaps_cpu:
        table = np.maximum(table, cpu_overhead_s)
        sequence_s = max(sequence_s, host_sequence_s)
    else:
        table += cpu_overhead_s
        sequence_s += host_sequence_s
    iteration = IterationTime(
        tokens_ps=np.rint(table * PS_PER_S).astype(np.int64),
        sequence_ps=round(sequence_s * PS_PER_S),
        context_ps=max(1, round(attention.context_s * PS_PER_S)),
        pair_ps_1024=max(1, round(attention.pair_s * PS_PER_S * (1 << PAIR_SHIFT))),
        mixed_context_ps=max(1, round(attention.context_s * work.law.mixed_context * PS_PER_S)),
        attention_groups=attention_data_parallel,
        experts_ps=experts,
    )
    iteration.tokens_ps.flags.writeable = False
    once_bytes = weight_bytes(architecture, precision) / deployment.gpus
    copied_bytes = 0.0
    if attention_data_parallel > 1:
        held_bytes = weight_bytes_per_gpu(architecture, precision, tensor_parallel, attention_data_parallel)
        copied_bytes = held_bytes - once_bytes
    return ServingProfile(
        architecture=architecture,
        gpu=gpu,
        deployment=deployment,
        precision=precision,
        kv_precision=kv_precision,
        clock_fraction=clock_fraction,
        roofline=iteration,
        weights_bytes=once_bytes,
        copied_bytes=copied_bytes,
        kv_bytes_per_token=kv_bytes_per_token(architecture, kv_precision, tensor_parallel)
        / attention_data_parallel,
        power=gpu_power(gpu),
        power_share=power_coefficients(gpu.generation),
        engine=engine,
        engine_law=work.engine,
        cpu_overhead_s=cpu_overhead_s,
        cpu_overhead_per_sequence_s=cpu_overhead_per_sequence_s,
        overlaps_cpu=overlaps_cpu,
        engaged_ps=picoseconds(lambda tokens: work.engaged_s(tokens) + attention.token_s * tokens),
        arithmetic_ps=picoseconds(work.arithmetic_s),
        sequence_waits_ps=round((sequence_s - kernels_sequence_s) * PS_PER_S),
        captured_tokens=captured_tokens,
    )


#: Widths up to this are tabulated one by one, wider ones at this step and by straight lines between.
_DENSE_TOKENS: Final = 256
_TOKEN_STEP: Final = 32


def _by_token(
    seconds: Callable[[NDArray[np.float64]], NDArray[np.float64]], most_tokens: int
) -> NDArray[np.float64]:
    """Return seconds by new tokens, from 0 to the widest."""
    tokens = np.arange(most_tokens + 1, dtype=np.float64)
    if most_tokens <= _DENSE_TOKENS:
        return seconds(tokens)
    wide = np.arange(_DENSE_TOKENS + _TOKEN_STEP, most_tokens, _TOKEN_STEP)
    knots = np.concatenate([np.arange(_DENSE_TOKENS + 1), wide, [most_tokens]]).astype(np.float64)
    return np.interp(tokens, knots, seconds(knots))
