"""How long one training step takes, where its seconds go, and at how many watts.

A closed form: matrix products with an efficiency that depends on their shape, attention,
element-wise kernels, collectives, the pipeline's bubble, gradient exchange with overlap and
the optimiser. No clock and no contention: those come in through ``TrainingProfile.at``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple, overload

import numpy as np

from simulator.catalog.entries import GpuSpec, NodeSpec
from simulator.foundation.errors import LayoutError
from simulator.hardware.power_curve import ClockCurve, GpuPower
from simulator.hardware.roofline import peak_flop_per_s
from simulator.llm.architecture import Architecture
from simulator.llm.flops import FlopConvention, training_flop_per_token
from simulator.llm.layout import Layout
from simulator.llm.memory import TrainingMemory, check_training_memory, parameters_on_gpu
from simulator.llm.pipeline import bubble_slots
from simulator.network.spread import Spread
from simulator.network.traffic import Traffic
from simulator.performance.coefficients import TrainingCoefficients, training_coefficients
from simulator.performance.exchange import (
    NOTHING,
    Links,
    context_exchange,
    expert_exchange,
    gradient_exchange,
    gradient_window_fraction,
    pipeline_exchange,
    tensor_exchange,
)
from simulator.performance.gpu_power import gpu_power
from simulator.performance.layer_time import LayerTime, head_time_s, layer_time
from simulator.performance.profile import FloatArray
from simulator.performance.rank_traffic import WireBytes, rank_traffic

#: Bytes the optimiser reads and writes for each parameter that it owns: 32-bit master weight,
#: two moments and gradient read, all but the gradient written, and the 16-bit weight written.
OPTIMIZER_TRAFFIC_BYTES: Final = 30.0

#: How sharply a step goes from bound by the GPU to bound by the host as kernels shrink; without
#: end is the larger of the two. Fitted on single-node A100 steps.
LAUNCH_SHARPNESS: Final = 6.0


@dataclass(frozen=True, eq=False, slots=True)
class TrainingProfile:
    """Step time and watts of a training job on one placement.

    The parts are seconds of one step at full clock and full links.

    Parameters
    ----------
    arithmetic_s, attention_s, streaming_s
        Work of the busiest stage over all micro-batches: bound by arithmetic (products, then
        attention) and by memory. [s]
    host_s
        Waits for the host to launch the next kernel. [s]
    tp_inner_s, tp_outer_s, cp_inner_s, cp_outer_s, ep_inner_s, ep_outer_s
        Exposed communication of all micro-batches, tensor, context and expert parallel: inside
        the scale-up domain, and across the network. [s]
    pp_inner_s, pp_outer_s
        Exposed sends between pipeline stages. [s]
    pp_network_s
        All sends between stages across the network, hidden ones among them. [s]
    bubble_slots
        Idle time of the pipeline as a fraction of the time over all micro-batches.
    gradient_inner_s, gradient_outer_s
        Exchange of gradients (and weights) inside a domain and across the network, before
        overlap. [s]
    gradient_window_fraction
        Share of the busy time behind which that exchange hides.
    communication_tax
        What communication that hides still costs, as a fraction of its time: it takes
        multiprocessors and memory bandwidth from the arithmetic.
    optimizer_s
        The optimiser's pass over memory. [s]
    straggler_fraction
        Wait for the slowest rank, as a fraction of the step.
    """

    architecture: Architecture
    layout: Layout
    spread: Spread
    gpu: GpuSpec
    power: GpuPower
    memory: TrainingMemory | None
    arithmetic_s: float
    attention_s: float
    streaming_s: float
    host_s: float
    tp_inner_s: float
    tp_outer_s: float
    cp_inner_s: float
    cp_outer_s: float
    ep_inner_s: float
    ep_outer_s: float
    pp_inner_s: float
    pp_outer_s: float
    pp_network_s: float
    bubble_slots: float
    gradient_inner_s: float
    gradient_outer_s: float
    gradient_window_fraction: float
    communication_tax: float
    optimizer_s: float
    straggler_fraction: float
    wire_bytes: WireBytes

    @property
    def unit_per_step(self) -> float:
        """Return the tokens of one step. [tokens]"""
        return self.layout.tokens_per_step

    @property
    def flow_bytes_per_step(self) -> float:
        """Return the bytes that each GPU sends into the network in a step. [B]"""
        return sum(self.wire_bytes)

    @property
    def traffic(self) -> tuple[Traffic, ...]:
        """Return who of the job's nodes sends how much to whom in a step."""
        return rank_traffic(self.layout, self.spread, self.wire_bytes)

    @property
    def breakdown(self) -> Mapping[str, float]:
        """Return the seconds of one step at full clock and full links, by part. [s]"""
        return self.parts(1.0, 1.0)

    @property
    def phase_power(self) -> Mapping[str, float]:
        """Return the watts of one GPU by phase, at full clock. [W]"""
        power = self.power
        return MappingProxyType(
            {
                "compute": power.compute_w,
                "memory": power.memory_w,
                "communication": power.communication_w,
                "waiting": power.communication_w,
                "idle": power.loaded_idle_w,
            }
        )

    @property
    def curve(self) -> ClockCurve:
        """Return how the GPUs follow their clock."""
        return self.power.curve

    @property
    def step_s(self) -> float:
        """Return the seconds of one step at full clock and full links. [s]"""
        return self.at(1.0, 1.0)[0]

    def parts(self, clock_fraction: float, link_share: float) -> dict[str, float]:
        """Return the seconds of one step by ``profile.BREAKDOWN_KEYS``; they sum to the step.

        Parameters
        ----------
        clock_fraction, link_share
            As in ``at``.
        """
        slow = self.power.curve.compute_stretch(clock_fraction)
        streaming = self.streaming_s * self.power.curve.memory_stretch(clock_fraction)
        compute_s = (self.arithmetic_s + self.attention_s) * slow + streaming + self.host_s
        tp_s = self.tp_inner_s + self.tp_outer_s / link_share
        cp_s = self.cp_inner_s + self.cp_outer_s / link_share
        ep_s = self.ep_inner_s + self.ep_outer_s / link_share
        busy_s = compute_s + tp_s + cp_s + ep_s
        bubble_s = self.bubble_slots * busy_s
        gradient_s = self.gradient_inner_s + self.gradient_outer_s / link_share
        window_s = self.gradient_window_fraction * compute_s
        hidden_s = min(gradient_s, window_s)
        exposed_s = gradient_s - hidden_s + self.communication_tax * hidden_s
        # What hides at full links shows once a slow link takes longer than the arithmetic.
        late_s = self.pp_network_s / link_share - compute_s
        pp_s = self.pp_inner_s + max(self.pp_outer_s / link_share, late_s)
        optimizer_s = self.optimizer_s * self.power.curve.memory_stretch(clock_fraction)
        total_s = busy_s + bubble_s + pp_s + exposed_s + optimizer_s
        return {
            "compute_s": compute_s,
            "tp_comm_s": tp_s,
            "pp_bubble_s": bubble_s,
            "pp_comm_s": pp_s,
            "dp_exposed_s": exposed_s,
            "ep_comm_s": ep_s,
            "cp_comm_s": cp_s,
            "optimizer_s": optimizer_s,
            "straggler_s": self.straggler_fraction * total_s,
        }

    @overload
    def at(self, clock_fraction: float, link_share: float) -> tuple[float, float]: ...

    @overload
    def at(
        self, clock_fraction: FloatArray, link_share: FloatArray | float
    ) -> tuple[FloatArray, FloatArray]: ...

    def at(
        self, clock_fraction: float | FloatArray, link_share: float | FloatArray
    ) -> tuple[float, float] | tuple[FloatArray, FloatArray]:
        """Return (step_s, power_w): seconds of a step, mean watts of one GPU over it.

        Parameters
        ----------
        clock_fraction
            Clock as a fraction of the highest, in (0, 1].
        link_share
            Fraction of a node's network bandwidth that the fabric leaves to the job, (0, 1].
        """
        if isinstance(clock_fraction, np.ndarray):
            shares = np.broadcast_to(np.asarray(link_share, dtype=np.float64), clock_fraction.shape)
            pairs = [self.at(float(c), float(s)) for c, s in zip(clock_fraction, shares, strict=True)]
            return np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
        part = self.parts(clock_fraction, float(link_share))
        power = self.power
        floor_w = power.floor_w
        dynamic = self.power.curve.dynamic_fraction(clock_fraction)
        streaming_s = self.streaming_s * self.power.curve.memory_stretch(clock_fraction) + part["optimizer_s"]
        products_s = part["compute_s"] + part["optimizer_s"] - streaming_s - self.host_s
        waiting_s = part["pp_bubble_s"] + part["straggler_s"] + self.host_s
        talking_s = (
            part["tp_comm_s"]
            + part["pp_comm_s"]
            + part["dp_exposed_s"]
            + part["ep_comm_s"]
            + part["cp_comm_s"]
        )
        step_s = products_s + streaming_s + waiting_s + talking_s
        full_j = (
            products_s * power.compute_w
            + streaming_s * power.memory_w
            + talking_s * power.communication_w
            + waiting_s * power.communication_w
        )
        floor_j = floor_w * step_s
        return step_s, (floor_j + (full_j - floor_j) * dynamic) / step_s

    def mfu_fraction(
        self,
        convention: FlopConvention = FlopConvention.MODEL_FULL,
        *,
        step_s: float | None = None,
    ) -> float:
        """Return model FLOP utilization at a step time (by default full clock and links).

        Useful operations over dense peak of the precision used; ``convention`` says whether
        attention counts in full or its causal half.
        """
        elapsed_s = self.step_s if step_s is None else step_s
        return self.flop_per_gpu(convention) / elapsed_s / peak_flop_per_s(self.gpu, self.layout.precision)

    def flop_per_gpu(self, convention: FlopConvention = FlopConvention.MODEL_FULL) -> float:
        """Return operations of one step for each GPU under a convention. [flop]"""
        layout = self.layout
        token = training_flop_per_token(
            self.architecture, layout.context_tokens, convention, layout.recompute
        )
        return token * layout.tokens_per_step / layout.gpus


class _Work(NamedTuple):
    """What a layout does wherever its ranks lie: the mean layer, the head, parameters on a GPU."""

    layer: LayerTime
    head_s: float
    parameters: tuple[float, float]


@lru_cache(maxsize=4096)
def _work(architecture: Architecture, layout: Layout, gpu: GpuSpec, share: TrainingCoefficients) -> _Work:
    experts = None
    if architecture.experts:
        experts = layer_time(architecture, layout, gpu, share, with_experts=True)
    if architecture.ffn:
        layer = layer_time(architecture, layout, gpu, share, with_experts=False)
        if experts is not None:
            layer = layer.mixed(experts, architecture.moe_layers / architecture.layers)
    else:
        assert experts is not None  # a model without feed-forward width has experts
        layer = experts
    return _Work(
        layer,
        head_time_s(architecture, layout, gpu, share),
        parameters_on_gpu(architecture, layout),
    )


#: A job is priced at every placement it is tried on, its memory is the same on all.
_fitting_memory = lru_cache(maxsize=4096)(check_training_memory)


def estimate(
    architecture: Architecture,
    layout: Layout,
    gpu: GpuSpec,
    node: NodeSpec,
    spread: Spread | None = None,
    *,
    nic_bandwidth_bytes_per_s: float | None = None,
    software_year: float | None = None,
    check_memory: bool = True,
    coefficients: TrainingCoefficients | None = None,
) -> TrainingProfile:
    """Return the profile of a training job.

    Parameters
    ----------
    spread
        Where the ranks lie; packed tightly when not given.
    nic_bandwidth_bytes_per_s
        Of one GPU into the network; the node's own when not given. [B/s]
    software_year
        Date of the training software, such as 2026.25; that of the coefficients when not given.
    check_memory
        Refuse a layout that does not fit the GPU's memory.
    coefficients
        Efficiencies to use instead of the generation's; for calibration.

    Raises
    ------
    LayoutError
        If the placement has another number of GPUs than the layout, a degree does not
        divide, or memory does not suffice; the message gives the numbers.
    """
    if spread is None:
        spread = Spread.compact(layout.gpus, node.gpus_per_node, domain_gpus=node.scale_up_domain_gpus)
    elif spread.ranks != layout.gpus:
        raise LayoutError(
            f"{architecture.name} with {layout.describe()} needs {layout.gpus} GPUs, "
            f"the placement has {spread.ranks}"
        )
    check_divides(architecture, layout)
    share = coefficients or training_coefficients(gpu.generation)
    memory = _fitting_memory(architecture, layout, gpu.memory_bytes) if check_memory else None
    nic = node.nic_bandwidth_bytes_per_s if nic_bandwidth_bytes_per_s is None else nic_bandwidth_bytes_per_s
    links = Links(gpu, share, spread, nic)

    work = _work(architecture, layout, gpu, share)
    layer, head_s = work.layer, work.head_s
    moe_share = architecture.moe_layers / architecture.layers
    products_s, attention_s, streaming_s = layer.products_s, layer.attention_s, layer.streaming_s
    # Forward, twice backward, and what is computed again.
    again = 1.0 if layout.recompute == "full" else 0.0
    if layout.fused_attention:
        attention_again = 1.0 if again else 0.5  # a fused backward recomputes the scores itself
        streaming_again = 0.5 if layout.recompute == "selective" else again
        scores_again = 0.0
    else:
        attention_again = 1.0 if layout.recompute == "selective" else again
        streaming_again = again
        scores_again = (attention_again - again) * layer.scores_s
    microbatches = layout.microbatches
    forward_s = products_s + attention_s + streaming_s
    products_s = (2.0 + again) * products_s + layer.gradients_s
    attention_s *= 3.0 + attention_again
    streaming_s = (3.0 + streaming_again) * streaming_s + scores_again
    tensor = tensor_exchange(architecture, layout, links, share) if layout.tensor_parallel > 1 else NOTHING
    context = context_exchange(architecture, layout, links, share) if layout.context_parallel > 1 else NOTHING
    experts = expert_exchange(architecture, layout, links, share) if layout.expert_parallel > 1 else NOTHING
    experts = experts.times(moe_share, moe_share)
    talking_s = tensor.seconds + context.seconds + experts.seconds
    passes_s = products_s + attention_s + streaming_s
    host_s = _waiting_s((3.0 + again) * layer.launch_s, passes_s + talking_s)
    # Weight gradients wait for the launches of their one pass as the others do.
    forward_fraction, gradients_s = forward_s / passes_s, layer.gradients_s
    gradients_s += _waiting_s(layer.launch_s, gradients_s + talking_s / (3.0 + again))
    if software_year is not None:
        older = math.exp(share.software_gain_per_year * (share.software_year - software_year))
        gradients_s *= older
        products_s, attention_s, streaming_s = older * products_s, older * attention_s, older * streaming_s
        host_s, head_s = older * host_s, older * head_s

    layer_s = products_s + attention_s + streaming_s + host_s + talking_s
    busiest, heads, emptier = _busiest_stage(architecture, layout, layer_s, 3.0 * head_s)
    repeat = microbatches * busiest
    forward_s = forward_fraction * layer_s
    # They fill no more idle time than one pass of several leaves between the others.
    gradients_s = min(gradients_s, layer_s / (3.0 + again))
    bubble = emptier * bubble_slots(layout, forward_s, layer_s - forward_s, gradients_s)
    arithmetic_s = repeat * products_s + microbatches * heads * 3.0 * head_s
    attention_s *= repeat
    streaming_s *= repeat
    pipeline, pipeline_network_s = pipeline_exchange(architecture, layout, links, share)
    gradient = gradient_exchange(architecture, layout, links, share, work.parameters)
    dense_owned, expert_owned = work.parameters
    if layout.zero_stage >= 1:
        replicas = layout.data_parallel * layout.context_parallel
        dense_owned /= replicas
        expert_owned /= max(1, replicas // layout.expert_parallel)
    optimizer_s = OPTIMIZER_TRAFFIC_BYTES * (dense_owned + expert_owned)
    optimizer_s /= share.memory_efficiency * gpu.memory_bandwidth_bytes_per_s
    nodes = spread.nodes
    return TrainingProfile(
        architecture=architecture,
        layout=layout,
        spread=spread,
        gpu=gpu,
        power=gpu_power(gpu),
        memory=memory,
        arithmetic_s=arithmetic_s,
        attention_s=attention_s,
        streaming_s=streaming_s,
        host_s=repeat * host_s,
        tp_inner_s=repeat * tensor.inner_s,
        tp_outer_s=repeat * tensor.outer_s,
        cp_inner_s=repeat * context.inner_s,
        cp_outer_s=repeat * context.outer_s,
        ep_inner_s=repeat * experts.inner_s,
        ep_outer_s=repeat * experts.outer_s,
        pp_inner_s=pipeline.inner_s,
        pp_outer_s=pipeline.outer_s,
        pp_network_s=pipeline_network_s,
        bubble_slots=bubble,
        gradient_inner_s=gradient.inner_s,
        gradient_outer_s=gradient.outer_s,
        gradient_window_fraction=gradient_window_fraction(layout, share),
        communication_tax=share.communication_tax,
        optimizer_s=optimizer_s,
        # The expected maximum of n normal deviates is about sigma sqrt(2 ln n).
        straggler_fraction=share.straggler_sigma * math.sqrt(2.0 * math.log(nodes)) if nodes > 1 else 0.0,
        wire_bytes=WireBytes(
            tensor=repeat * tensor.wire_bytes,
            context=repeat * context.wire_bytes,
            experts=repeat * experts.wire_bytes,
            pipeline=pipeline.wire_bytes,
            gradients=gradient.wire_bytes,
        ),
    )


def _waiting_s(launch_s: float, busy_s: float) -> float:
    """Return how long the GPU waits for the host to launch its next kernel. [s]

    Launches run ahead of the GPU and hide behind its work; where both take about as long,
    neither hides quite.
    """
    ratio = launch_s / busy_s
    both: float = (1.0 + ratio**LAUNCH_SHARPNESS) ** (1.0 / LAUNCH_SHARPNESS)
    return busy_s * (both - 1.0)


def check_divides(architecture: Architecture, layout: Layout) -> None:
    """Raise LayoutError if the model cannot be cut as the layout says."""
    tensor = layout.tensor_parallel
    if architecture.heads % tensor:
        raise LayoutError(
            f"{architecture.name}: tensor_parallel {tensor} does not divide {architecture.heads} heads"
        )
    chunks = layout.pipeline_parallel * layout.interleave
    # The first and the last chunk may hold an embedding only, as in Llama 3.
    if chunks > architecture.layers + 2:
        raise LayoutError(
            f"{architecture.name}: pipeline_parallel {layout.pipeline_parallel} x interleave "
            f"{layout.interleave} = {chunks} chunks for {architecture.layers} layers"
        )
    if architecture.experts and architecture.experts % layout.expert_parallel:
        raise LayoutError(
            f"{architecture.name}: expert_parallel {layout.expert_parallel} does not divide "
            f"{architecture.experts} experts"
        )
    if layout.expert_parallel > 1 and not architecture.experts:
        raise LayoutError(
            f"{architecture.name} has no experts; expert_parallel {layout.expert_parallel} "
            "would have no effect"
        )


def _busiest_stage(
    architecture: Architecture, layout: Layout, layer_s: float, head_s: float
) -> tuple[float, float, float]:
    """Return (layers, output embeddings, emptiness) of the pipeline and its busiest stage.

    The last stage also has the output embedding and any layers that predict further tokens.
    Layers that divide over the stages are dealt evenly; others so that the busiest stage has
    least, as Llama 3 and DeepSeek-V3 do. Emptiness is the work of the mean other stage as a
    fraction of the busiest one's: the pipeline fills and drains through those.
    """
    stages = layout.pipeline_parallel
    layers = architecture.layers
    extra = float(architecture.mtp_layers)
    heads = 1.0 + extra
    if stages == 1:
        return layers + extra, heads, 1.0
    tail_s = extra * layer_s + heads * head_s
    even, left = divmod(layers, stages)
    if not left:
        last, others = even, even
    else:
        last, others = min(
            ((last, math.ceil((layers - last) / (stages - 1))) for last in range(even + 2)),
            key=lambda split: max(split[0] * layer_s + tail_s, split[1] * layer_s),
        )
    last_s, others_s = last * layer_s + tail_s, others * layer_s
    work_s = layers * layer_s + tail_s
    if last_s >= others_s:
        return last + extra, heads, (work_s - last_s) / ((stages - 1) * last_s)
    return float(others), 0.0, (work_s - others_s) / ((stages - 1) * others_s)
