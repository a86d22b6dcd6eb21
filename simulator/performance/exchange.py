"""Seconds that a training job's ranks talk, inside a scale-up domain and across the network."""

from __future__ import annotations

import math
from typing import NamedTuple

from simulator.catalog.entries import GpuSpec
from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout
from simulator.network.collectives import all_gather_s, all_reduce_s, all_to_all_s, in_network_all_reduce_s
from simulator.network.spread import Spread
from simulator.performance.coefficients import TrainingCoefficients

#: Bytes of a gradient and of a weight on the wire, where the coefficients say nothing else.
GRADIENT_WIRE_BYTES = 2.0
WEIGHT_WIRE_BYTES = 2.0

#: Part of the bandwidth that a ring of n loses, times n: few ranks keep few channels busy. From
#: A100 all-reduces of 2, 4 and 8 (188, 210 and 225 GB/s; vTrain's NCCL tables).
SHORT_RING_LOSS = 0.42

#: Added to a network hop for each tier of switches climbed and descended. Estimate: two
#: switches and two cables of some 0.5 us each.
TIER_HOP_S = 2e-6


class Exchange(NamedTuple):
    """Communication of one kind: seconds inside a domain and outside, bytes put on the network.

    Apart because the fabric's share stretches only ``outer_s``. [s, s, B of one GPU]
    """

    inner_s: float
    outer_s: float
    wire_bytes: float

    @property
    def seconds(self) -> float:
        """Return the time at full links. [s]"""
        return self.inner_s + self.outer_s

    def times(self, seconds: float, messages: float) -> Exchange:
        """Return this exchange with seconds and bytes multiplied."""
        return Exchange(self.inner_s * seconds, self.outer_s * seconds, self.wire_bytes * messages)


NOTHING = Exchange(0.0, 0.0, 0.0)


class Links:
    """Bandwidth and latency between a job's ranks, and which of them share a domain."""

    __slots__ = (
        "_domain_gpus",
        "_in_network",
        "inner_bytes_per_s",
        "inner_hop_s",
        "outer_bytes_per_s",
        "outer_hop_s",
        "start_s",
    )

    def __init__(
        self, gpu: GpuSpec, share: TrainingCoefficients, spread: Spread, nic_bytes_per_s: float
    ) -> None:
        self._domain_gpus = spread.domain_gpus
        self._in_network = spread.in_network
        self.inner_bytes_per_s = share.scale_up_efficiency * gpu.scale_up_bandwidth_bytes_per_s
        self.inner_hop_s = share.scale_up_latency_s
        self.start_s = share.collective_s
        self.outer_bytes_per_s = share.scale_out_efficiency * nic_bytes_per_s
        tiers = (1 if spread.leaves > 1 else 0) + (1 if spread.pods > 1 else 0)
        self.outer_hop_s = share.scale_out_latency_s + tiers * TIER_HOP_S

    def inner_rate(self, ranks: int) -> float:
        """Return the bandwidth that a ring of ``ranks`` in one domain reaches. [B/s]"""
        return self.inner_bytes_per_s * (1.0 - SHORT_RING_LOSS / ranks)

    def split(self, ranks: int, stride: int) -> tuple[int, int]:
        """Return (ranks in one domain, domains) of a group whose members are ``stride`` apart."""
        inside = min(ranks, max(1, self._domain_gpus // stride))
        return inside, -(-ranks // inside)

    def ring_stride(self, block: int, stride: int, period: int) -> int:
        """Return the even stride at which a domain holds as many ranks as of a ring in blocks.

        ``block`` ranks lie ``stride`` apart, and the next block begins ``period`` GPUs further on.
        """
        if period <= self._domain_gpus:
            return period // block
        return max(stride, self._domain_gpus // block)

    def all_reduce(self, ranks: int, stride: int, size_bytes: float) -> Exchange:
        """Return a hierarchical all-reduce: scatter inside, reduce across rails, gather inside."""
        if ranks < 2:
            return NOTHING
        inside, outside = self.split(ranks, stride)
        piece = size_bytes / inside
        if outside == 1:
            inner_s = all_reduce_s(inside, size_bytes, self.inner_rate(inside), self.inner_hop_s)
            return Exchange(self.start_s + inner_s, 0.0, 0.0)
        if self._in_network:
            return Exchange(
                self.start_s
                + 2.0 * all_gather_s(inside, size_bytes, self.inner_rate(inside), self.inner_hop_s),
                in_network_all_reduce_s(outside, piece, self.outer_bytes_per_s, self.outer_hop_s),
                piece,
            )
        return Exchange(
            self.start_s + 2.0 * all_gather_s(inside, size_bytes, self.inner_rate(inside), self.inner_hop_s),
            all_reduce_s(outside, piece, self.outer_bytes_per_s, self.outer_hop_s),
            2.0 * (outside - 1) / outside * piece,
        )

    def all_gather(self, ranks: int, stride: int, size_bytes: float, messages: float = 1.0) -> Exchange:
        """Return a hierarchical all-gather of ``size_bytes`` in all, sent in equal messages."""
        if ranks < 2:
            return NOTHING
        inside, outside = self.split(ranks, stride)
        piece = size_bytes / inside / messages
        inner_s = all_gather_s(inside, size_bytes / messages, self.inner_rate(inside), self.inner_hop_s)
        outer_s = all_gather_s(outside, piece, self.outer_bytes_per_s, self.outer_hop_s)
        wire = (outside - 1) / outside * piece * messages
        return Exchange(messages * (self.start_s + inner_s), messages * outer_s, wire)

    def all_to_all(self, ranks: int, stride: int, size_bytes: float, copies: int) -> Exchange:
        """Return an all-to-all in which each rank sends ``copies`` of ``size_bytes`` to any ranks.

        Several copies for one distant domain cross the network once.
        """
        if ranks < 2:
            return NOTHING
        inside, outside = self.split(ranks, stride)
        inner_s = all_to_all_s(inside, copies * size_bytes, self.inner_rate(inside), self.inner_hop_s)
        if outside == 1:
            return Exchange(self.start_s + inner_s, 0.0, 0.0)
        # Domains that at least one of the copies goes to, less the own one.
        away = size_bytes * (outside - 1) * (1.0 - (1.0 - 1.0 / outside) ** copies)
        outer_s = math.log2(ranks) * self.outer_hop_s + away / self.outer_bytes_per_s
        return Exchange(self.start_s + inner_s, outer_s, away)

    def send(self, stride: int, size_bytes: float) -> Exchange:
        """Return one message to the rank ``stride`` further on."""
        inside, _ = self.split(2, stride)
        if inside == 2:
            return Exchange(self.inner_hop_s + size_bytes / self.inner_rate(2), 0.0, 0.0)
        return Exchange(0.0, self.outer_hop_s + size_bytes / self.outer_bytes_per_s, size_bytes)


def tensor_exchange(
    architecture: Architecture, layout: Layout, links: Links, share: TrainingCoefficients
) -> Exchange:
    """Return the exposed part for one layer and micro-batch: two all-reduces each way.

    With sequence parallelism each is a reduce-scatter and an all-gather of the same bytes. Only
    what stays in a scale-up domain overlaps with the products around it.
    """
    tokens = layout.micro_batch * layout.context_tokens / layout.context_parallel
    one = links.all_reduce(layout.tensor_parallel, 1, 2.0 * tokens * architecture.hidden)
    rounds = 6.0 if layout.recompute == "full" else 4.0
    hidden = 0.0 if one.outer_s else share.tensor_overlap
    return one.times(rounds * (1.0 - hidden), rounds)


def context_exchange(
    architecture: Architecture, layout: Layout, links: Links, share: TrainingCoefficients
) -> Exchange:
    """Return the exposed part for one layer and micro-batch: keys and values to every rank.

    Gathered forward, gathered again backward, and their gradients scattered.
    """
    tokens = layout.micro_batch * layout.context_tokens
    width = 2.0 * max(1.0, architecture.kv_heads / layout.tensor_parallel) * architecture.head_dim
    one = links.all_gather(layout.context_parallel, layout.tensor_parallel, 2.0 * tokens * width)
    rounds = 4.0 if layout.recompute == "full" else 3.0
    return one.times(rounds * (1.0 - share.tensor_overlap), rounds)


def expert_exchange(
    architecture: Architecture, layout: Layout, links: Links, share: TrainingCoefficients
) -> Exchange:
    """Return the exposed part for one layer and micro-batch: tokens to their experts and back.

    Twice forward and twice backward. Between domains a token travels once to each domain that
    holds an expert of its, and is copied there; inside, once to each expert.
    """
    tokens = layout.micro_batch * layout.context_tokens / layout.context_parallel
    if layout.sequence_parallel:
        tokens /= layout.tensor_parallel
    visited = architecture.experts_per_token
    one = links.all_to_all(
        layout.expert_parallel, layout.tensor_parallel, 2.0 * tokens * architecture.hidden, visited
    )
    rounds = 6.0 if layout.recompute == "full" else 4.0
    return one.times(rounds * (1.0 - share.expert_overlap), rounds)


def pipeline_exchange(
    architecture: Architecture, layout: Layout, links: Links, share: TrainingCoefficients
) -> tuple[Exchange, float]:
    """Return the exposed part of a whole step, and its seconds on the network if all showed.

    Activations go to the next stage, gradients back.
    """
    stages = layout.pipeline_parallel
    if stages == 1:
        return NOTHING, 0.0
    tokens = layout.micro_batch * layout.context_tokens / layout.context_parallel
    size = 2.0 * tokens * architecture.hidden / layout.tensor_parallel
    inner = layout.tensor_parallel * layout.context_parallel
    one = links.send(inner if layout.outermost == "data" else layout.gpus // stages, size)
    rounds = 2.0 * layout.interleave
    slots = rounds * (layout.microbatches + stages - 1)
    # Only chunks that take turns leave work to hide a message behind.
    hidden = share.pipeline_overlap if layout.interleave > 1 or layout.schedule != "1f1b" else 0.0
    return one.times(slots * (1.0 - hidden), rounds * layout.microbatches), slots * one.outer_s


def gradient_exchange(
    architecture: Architecture,
    layout: Layout,
    links: Links,
    share: TrainingCoefficients,
    parameters: tuple[float, float],
) -> Exchange:
    """Return the exchange of gradients and weights among replicas in a step, before overlap.

    Unsharded: gradients are all-reduced. Sharded optimiser: gradients scattered, weights
    gathered. Sharded weights: gathered twice and gradients scattered for each micro-batch,
    a layer at a time; groups that hold copies of each other's shards then reduce those.

    Parameters
    ----------
    parameters
        Dense and expert ones on one GPU. [count]
    """
    inner_s = outer_s = wire_bytes = 0.0
    dense, experts = parameters
    gradient_bytes = share.bf16_gradient_bytes if layout.precision == "bf16" else GRADIENT_WIRE_BYTES
    members = layout.data_parallel * layout.context_parallel
    near = layout.tensor_parallel
    if layout.outermost == "data":
        near = links.ring_stride(layout.context_parallel, near, layout.replica_gpus)
    groups = [(dense, members, near)]
    if experts:
        stride = layout.expert_tensor_parallel * layout.expert_parallel
        groups.append((experts, members * layout.tensor_parallel // stride, stride))
    for owned, ranks, stride in groups:
        if layout.zero_stage >= 3:
            shards = min(ranks, layout.shard_ranks or ranks)
            size = layout.microbatches * (2.0 * WEIGHT_WIRE_BYTES + GRADIENT_WIRE_BYTES) * owned
            messages = 3.0 * layout.microbatches * architecture.layers
            one = links.all_gather(shards, stride, size, messages)
            if shards < ranks:
                copies = links.all_reduce(
                    ranks // shards, stride * shards, GRADIENT_WIRE_BYTES * owned / shards
                )
                one = Exchange(*(a + b for a, b in zip(one, copies, strict=True)))
        elif layout.zero_stage >= 1:
            size = 0.5 * (gradient_bytes + WEIGHT_WIRE_BYTES) * owned
            one = links.all_reduce(ranks, stride, size)
        else:
            one = links.all_reduce(ranks, stride, gradient_bytes * owned)
        inner_s += one.inner_s
        outer_s += one.outer_s
        wire_bytes += one.wire_bytes
    return Exchange(inner_s, outer_s, wire_bytes)


def gradient_window_fraction(layout: Layout, share: TrainingCoefficients) -> float:
    """Return the share of a step's arithmetic behind which that exchange may hide.

    Sharded weights travel all along the step. Otherwise gradients hide behind the last
    micro-batch's backward pass, two thirds of its time, and gathered weights behind the next
    forward pass.
    """
    if layout.zero_stage >= 3:
        return share.data_overlap
    part = 1.0 if layout.zero_stage >= 1 else 2.0 / 3.0
    return share.data_overlap * part / layout.microbatches
