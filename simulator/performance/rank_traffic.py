"""Where a training job's bytes go among its nodes: who sends to whom, for each kind of exchange.

Tensor ranks lie innermost, then context; of data and pipeline the layout says which comes last, for
the flows here as for the prices of the exchanges. Inside a scale-up domain both orders price alike
once tensor and context ranks fill it.
"""

from __future__ import annotations

from typing import NamedTuple

from simulator.llm.layout import Layout
from simulator.network.spread import Spread
from simulator.network.traffic import Traffic


class WireBytes(NamedTuple):
    """Bytes that each GPU sends into the network in a step, by kind of exchange. [B]"""

    tensor: float = 0.0
    context: float = 0.0
    experts: float = 0.0
    pipeline: float = 0.0
    gradients: float = 0.0


def rank_traffic(layout: Layout, spread: Spread, wire: WireBytes) -> tuple[Traffic, ...]:
    """Return what a job's nodes send each other, kind by kind; nothing for what stays in a domain.

    Examples
    --------
    >>> layout = Layout(
    ...     tensor_parallel=8, pipeline_parallel=4, data_parallel=2, global_batch=2, outermost="data"
    ... )
    >>> spread = Spread.compact(64, 8)
    >>> sent = rank_traffic(layout, spread, WireBytes(pipeline=1.0, gradients=1.0))
    >>> [(kind.kind, kind.stride, kind.span, kind.pattern) for kind in sent]
    [('pipeline', 1, 4, 'chain'), ('data-parallel', 4, 0, 'ring')]
    """
    per_node = spread.gpus_per_node
    domain = max(1, spread.domain_gpus // per_node)
    inner = layout.tensor_parallel * layout.context_parallel
    stages, copies = layout.pipeline_parallel, layout.data_parallel
    near_data = layout.outermost == "pipeline"

    def nodes(gpus: int) -> int:
        return max(1, -(-gpus // per_node))

    def ring(kind: str, sent: float, neighbour: int, ranks: int) -> Traffic:
        # Rails run beside each other: a rank's neighbour is at the same place in the next domain.
        return Traffic(kind, sent, max(domain, nodes(neighbour)), max(domain, nodes(neighbour * ranks)))

    found = [
        ring("tensor", wire.tensor, 1, layout.tensor_parallel),
        ring("context", wire.context, layout.tensor_parallel, layout.context_parallel),
        Traffic(
            "experts",
            wire.experts,
            span=nodes(layout.tensor_parallel * layout.expert_parallel),
            pattern="all",
        ),
        Traffic(
            "pipeline",
            wire.pipeline,
            nodes(inner * (copies if near_data else 1)),
            0 if near_data else nodes(inner * stages),
            # With several chunks a stage, the last stage hands on to the first.
            "ring" if layout.interleave > 1 else "chain",
        ),
    ]
    # A ring over context and data ranks leaves a copy once for each of its context ranks.
    along = 1.0 / layout.context_parallel
    if layout.context_parallel > 1:
        found.append(
            ring(
                "data-parallel",
                wire.gradients * (1.0 - along),
                layout.tensor_parallel,
                layout.context_parallel,
            )
        )
    stride = max(domain, nodes(inner * (1 if near_data else stages)))
    span = nodes(inner * copies) if near_data else 0
    found.append(Traffic("data-parallel", wire.gradients * along, stride, span))
    return tuple(kind for kind in found if kind.bytes_per_step > 0.0)
