"""What a job's ranks send each other in a step: how much, how far, and in which pattern."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Traffic:
    """One kind of exchange between the nodes of a job, in the order of its ranks.

    The nodes are cut into groups of ``span`` neighbours. In a ring every node sends to the one
    ``stride`` further on in its group, and the last ones to the first; in a chain the last ones
    send to nobody; in an exchange of all with all every node sends alike to all others.

    Parameters
    ----------
    kind
        ``data-parallel``, ``pipeline``, ``experts``, ``context`` or ``tensor``.
    bytes_per_step
        That each GPU sends into the network in a step. [B]
    stride
        Nodes from a sender to its neighbour. [count]
    span
        Nodes of one group; 0: all of the job. [count]
    pattern
        ``ring``, ``chain`` or ``all``.
    """

    kind: str
    bytes_per_step: float
    stride: int = 1
    span: int = 0
    pattern: str = "ring"


def pairs_of(traffic: Traffic, nodes: int) -> tuple[IntArray, IntArray, FloatArray]:
    """Return (sender, receiver, part of a GPU's bytes) between the nodes of a job, by rank order.

    Examples
    --------
    >>> sender, receiver, part = pairs_of(Traffic("pipeline", 1.0, 1, 3, "chain"), 6)
    >>> sender.tolist(), receiver.tolist()
    ([0, 1, 3, 4], [1, 2, 4, 5])
    """
    span = min(traffic.span or nodes, nodes)
    rank = np.arange(nodes, dtype=np.int64)
    first = rank - rank % span
    size = np.minimum(first + span, nodes) - first
    if traffic.pattern == "all":
        # Every rank against every other of its group, the last group being perhaps shorter.
        offset = np.tile(np.arange(1, span, dtype=np.int64), nodes)
        sender = np.repeat(rank, span - 1)
        kept = offset < size[sender]
        sender, offset = sender[kept], offset[kept]
        receiver = first[sender] + (sender - first[sender] + offset) % size[sender]
        return sender, receiver, 1.0 / (size[sender] - 1)
    stride = np.minimum(traffic.stride, np.maximum(size - 1, 1))
    place = rank - first
    onward = place + stride
    inside = onward < size
    if traffic.pattern == "ring":
        # Rings side by side: the last of each goes back to the first of its own.
        onward = np.where(inside, onward, place % stride)
        inside = onward != place
    sender = rank[inside]
    return sender, first[inside] + onward[inside], np.ones(len(sender))
