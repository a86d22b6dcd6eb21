"""Torus: nodes in a box of any dimensions, each joined with its neighbours, ends joined too."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from simulator.foundation.quantity import BytesPerSecond
from simulator.network.topology import Fabric, Fault, FloatArray, IntArray, Machines, Tier, joined_routes

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True)
class Torus:
    """Nodes in a box; each has a link either way along every dimension."""

    dimensions: Annotated[
        tuple[int, ...], "Nodes along each dimension; their product is at least the site's nodes."
    ]
    link_bytes_per_s: Annotated[
        BytesPerSecond | None,
        "Network bandwidth of each GPU, all its directions together; the node type's own if not given.",
    ] = None

    def __post_init__(self) -> None:
        """Refuse what cannot be wired."""
        if not self.dimensions or min(self.dimensions) < 1:
            raise ValueError(f"dimensions {list(self.dimensions)}: expected one or more, each at least 1")

    def build(self, machines: Machines) -> TorusFabric:
        """Return the fabric over some machines."""
        places = math.prod(self.dimensions)
        if places < machines.nodes:
            raise ValueError(
                f"dimensions {list(self.dimensions)} hold {places} nodes; there are {machines.nodes}"
            )
        return TorusFabric(machines, dimensions=tuple(self.dimensions))


@dataclass(frozen=True)
class TorusFabric(Fabric):
    """Link n x D + k leads from place n to the next along dimension k; messages take dimensions in turn.

    Nodes lie with the last dimension fastest. A ring over neighbours uses one dimension; its bytes
    are divided over rings of all dimensions and both directions, as such machines do.
    """

    dimensions: tuple[int, ...] = (1,)

    @property
    def places(self) -> int:
        """Return the places of the box, each with a router. [count]"""
        return math.prod(self.dimensions)

    @property
    def switches(self) -> int:
        """Return the routers: one a node. [count]"""
        return self.machines.nodes

    @property
    def _wide(self) -> list[int]:
        """Return the dimensions along which there is anybody to talk to."""
        return [axis for axis, size in enumerate(self.dimensions) if size > 1]

    def whole_capacities(self) -> FloatArray:
        """Return a node's ports divided over its directions; two in a line have both links. [B/s]"""
        wide = self._wide
        one = self.machines.node_bytes_per_s / max(1, 2 * len(wide))
        found = np.zeros((self.places, len(self.dimensions)))
        found[:, wide] = one
        return found.ravel()

    def lose_switch(self, capacities: FloatArray, fault: Fault) -> None:
        """Take nothing but the node: it is cut off, and others go round it."""

    def edges_of(self, nodes: IntArray) -> IntArray:
        """Return each node itself: all talk crosses links."""
        return nodes

    def pods_of(self, nodes: IntArray) -> IntArray:
        """Return one pod."""
        return np.zeros_like(nodes)

    def _coordinates(self, nodes: IntArray) -> list[IntArray]:
        return [np.asarray(axis, dtype=np.int64) for axis in np.unravel_index(nodes, self.dimensions)]

    def routes(self, source: IntArray, target: IntArray) -> tuple[IntArray, IntArray]:
        """Return the links of the shortest way, one dimension after the other."""
        at = self._coordinates(source)
        goal = self._coordinates(target)
        pair = np.arange(len(source), dtype=np.int64)
        parts: list[tuple[IntArray, IntArray]] = [(pair[:0], pair[:0])]
        axes = len(self.dimensions)
        for axis, size in enumerate(self.dimensions):
            onward = (goal[axis] - at[axis]) % size
            forth = 2 * onward <= size
            for step in range(size // 2 + 1):
                going = forth & (step < onward)
                back = ~forth & (step < size - onward)
                for moving, sign in ((going, 1), (back, -1)):
                    if not moving.any():
                        continue
                    here = [axis_at[moving] for axis_at in at]
                    here[axis] = (here[axis] + sign * step - (sign < 0)) % size
                    place = np.ravel_multi_index(tuple(here), self.dimensions)
                    parts.append((pair[moving], 2 * (place * axes + axis) + (sign < 0)))
            at[axis] = goal[axis]
        return joined_routes(parts)

    def _loads(self, source: IntArray, target: IntArray, weight: FloatArray) -> FloatArray:
        """Return what crosses each link, either way the same: half of all goes round the other way."""
        rings = self._rings(source, target)
        if rings:
            parts = [(one, other, np.full(len(one), 1.0 / len(rings))) for one, other in rings]
        else:
            parts = [(source, target, weight)]
        links = np.zeros(self.links)
        for one, other, part in parts:
            for here, there in ((one, other), (other, one)):
                pair, way = self.routes(here, there)
                links += np.bincount(way // 2, part[pair], self.links) / 2.0
        return links / 2.0

    def _rings(self, source: IntArray, target: IntArray) -> list[tuple[IntArray, IntArray]]:
        """Return rings along each dimension in which every node has company, for one ring over all nodes.

        A ring over neighbours in rank is laid along all dimensions at once; other patterns are
        taken as they are.
        """
        nodes = np.sort(source)
        one_ring = len(np.unique(nodes)) == len(nodes) and np.array_equal(np.sort(target), nodes)
        if not one_ring or not np.array_equal(target, np.roll(source, -1)):
            return []
        at = self._coordinates(nodes)
        found = []
        for axis in self._wide:
            others = np.zeros_like(nodes)
            for other, size in enumerate(self.dimensions):
                if other != axis:
                    others = others * size + at[other]
            order = np.lexsort((at[axis], others))
            first = np.flatnonzero(np.diff(others[order], prepend=-1))
            many = np.diff(first, append=len(nodes))
            if many.min() > 1:
                onward = np.roll(order, -1)
                onward[first + many - 1] = order[first]
                found.append((nodes[order], nodes[onward]))
        return found

    def link_name(self, link: int) -> str:
        """Return ``node-N-along-K``."""
        place, axis = divmod(link, len(self.dimensions))
        return f"node-{place}-along-{axis}"

    def link_named(self, name: str) -> int | None:
        """Return the link of a name, or None."""
        said = re.fullmatch(r"node-([0-9]+)-along-([0-9]+)", name)
        if said is None or int(said[1]) >= self.places or int(said[2]) >= len(self.dimensions):
            return None
        return int(said[1]) * len(self.dimensions) + int(said[2])

    def switch_name(self, switch: int) -> str:
        """Return ``node-N``."""
        return f"node-{switch}"

    def nodes_of_switch(self, switch: int) -> range:
        """Return the node at a router."""
        return range(switch, switch + 1)

    def nodes_behind(self, link: int) -> range:
        """Return none: there is always a way round."""
        return range(0)

    @property
    def nodes_per_edge(self) -> int:
        """Return one: each node has its router. [count]"""
        return 1

    @property
    def nodes_per_pod(self) -> int:
        """Return the nodes of a slice across the first dimension. [count]"""
        return self.places // self.dimensions[0]

    def tiers(self) -> tuple[Tier, ...]:
        """Return the nodes, and the box."""
        if self.places == 1:
            return (Tier("node", 1, 0.0, 1.0),)
        node = Tier("node", 1, self.machines.node_bytes_per_s, 1.0)
        return node, Tier("box", self.machines.nodes, 0.0, 1.0)

    @property
    def ports_above(self) -> float:
        """Return none: the nodes' own ports are the links."""
        return 0.0

    def graph(self) -> networkx.Graph:
        """Return the routers and their links; a dimension of two has both of its links in one edge."""
        import networkx

        graph = networkx.Graph(wiring="torus")
        for place in range(self.places):
            graph.add_node(f"node-{place}", tier="router", nodes=int(place < self.machines.nodes))
        axes = len(self.dimensions)
        places = np.arange(self.places)
        for axis in self._wide:
            at = self._coordinates(places)
            at[axis] = (at[axis] + 1) % self.dimensions[axis]
            onward = np.ravel_multi_index(tuple(at), self.dimensions)
            for place, other in zip(places.tolist(), onward.tolist(), strict=True):
                link = place * axes + axis
                rate = float(self.capacities_bytes_per_s[link])
                ends = f"node-{place}", f"node-{other}"
                known = graph.edges[ends]["bytes_per_s"] if graph.has_edge(*ends) else 0.0
                graph.add_edge(*ends, link=link, bytes_per_s=known + rate)
        return graph
