"""Which ranks lie farthest apart: one order for prices and for flows, by hand."""

from __future__ import annotations

import pytest

from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import LayoutError
from simulator.llm.architecture import Architecture
from simulator.llm.layout import Layout
from simulator.network.spread import Spread
from simulator.performance.coefficients import training_coefficients
from simulator.performance.exchange import Links
from simulator.performance.training import estimate

CATALOG = Catalog.shipped()
NODE, GPU = CATALOG.node("hgx-h100-8"), CATALOG.gpu("h100-sxm")


def profile(outermost):
    """Four nodes; 2 tensor ranks, 4 stages, 4 copies."""
    layout = Layout(
        tensor_parallel=2,
        pipeline_parallel=4,
        data_parallel=4,
        global_batch=64,
        outermost=outermost,
    )
    return estimate(Architecture.from_spec(CATALOG.model("llama-3.1-8b")), layout, GPU, NODE)


def test_stages_outermost_leave_a_node_and_copies_stay_inside():
    """Copies of a stage fill a node: gradients stay on NVLink, activations cross to the next node."""
    found = profile("pipeline")
    assert found.wire_bytes.gradients == 0.0
    assert found.wire_bytes.pipeline > 0.0
    assert [(one.kind, one.stride, one.span) for one in found.traffic] == [("pipeline", 1, 0)]


def test_copies_outermost_leave_a_node_and_stages_stay_inside():
    """A copy of the model fills a node: activations stay, each rank's gradients go round four nodes."""
    found = profile("data")
    assert found.wire_bytes.pipeline == 0.0
    assert found.wire_bytes.gradients > 0.0
    assert [(one.kind, one.stride, one.span) for one in found.traffic] == [("data-parallel", 1, 0)]
    assert found.layout.describe() == "tp2 pp4 dp4 mb1 zero1 dp-outermost"
    # Gradients and weights of a stage against its activations: here the copies should be near.
    assert found.step_s > profile("pipeline").step_s


@pytest.mark.parametrize(
    ("domain", "block", "stride", "period", "inside"),
    [
        (8, 1, 2, 8, 1),  # a copy fills the domain: none of the other copies is in it
        (8, 1, 1, 2, 4),  # four copies of two GPUs
        (8, 2, 2, 8, 2),  # two context ranks of the only copy
        (8, 2, 2, 16, 2),  # the copy goes on outside, its context ranks do not
        (4, 4, 2, 16, 2),  # two of four context ranks
        (2, 2, 2, 8, 1),  # tensor ranks alone fill it
        (32, 2, 2, 8, 8),  # two context ranks of four copies
    ],
)
def test_ranks_of_a_ring_in_blocks_that_share_a_domain(domain, block, stride, period, inside):
    links = Links(GPU, training_coefficients("Hopper"), Spread.compact(64, domain), 50e9)
    assert links.split(64, links.ring_stride(block, stride, period))[0] == inside


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"outermost": "tensor", "pipeline_parallel": 2}, "known: pipeline, data"),
        ({"outermost": "data"}, "no effect with pipeline_parallel 1"),
        (
            {"outermost": "data", "pipeline_parallel": 2, "data_parallel": 8, "expert_parallel": 4},
            "expert_parallel is 4, expected 1",
        ),
    ],
)
def test_an_order_that_cannot_be_is_refused(changes, said):
    with pytest.raises(LayoutError, match=said):
        Layout(**({"global_batch": 8} | changes))
