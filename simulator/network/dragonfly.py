"""Dragonfly: groups of routers, all joined inside a group, and a link between any two groups."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from simulator.foundation.quantity import BytesPerSecond, Count
from simulator.network.topology import Fabric, Fault, FloatArray, IntArray, Machines, Tier, joined_routes

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True)
class Dragonfly:
    """Routers joined all with all in a group, groups joined all with all by global links.

    References
    ----------
    Kim, Dally, Scott, Abts, "Technology-driven, highly-scalable dragonfly topology", ISCA 2008:
    a router of p terminals, a routers in a group and h global links is balanced at a = 2p = 2h.
    """

    link_bytes_per_s: Annotated[
        BytesPerSecond | None, "Bandwidth of each GPU and of each link; the node type's own if not given."
    ] = None
    nodes_per_router: Annotated[Count, "Nodes at one router."] = 2
    routers_per_group: Annotated[Count, "Routers of one group; 0: twice a router's ports to nodes."] = 0
    global_links_per_router: Annotated[Count, "Links to other groups; 0: half the routers of a group."] = 0
    routing: Annotated[
        Literal["minimal", "valiant"], "Shortest way, or by way of another group so that load spreads."
    ] = "minimal"
    in_network: Annotated[bool, "Whether the switches add up all-reduces themselves."] = False

    def __post_init__(self) -> None:
        """Refuse what cannot be wired."""
        if self.nodes_per_router < 1 or self.routers_per_group < 0 or self.global_links_per_router < 0:
            raise ValueError(
                f"nodes_per_router {self.nodes_per_router}, routers_per_group {self.routers_per_group} and "
                f"global_links_per_router {self.global_links_per_router}: expected at least 1, 0 and 0"
            )

    def build(self, machines: Machines) -> DragonflyFabric:
        """Return the fabric over some machines."""
        routers = self.routers_per_group or 2 * self.nodes_per_router * machines.gpus_per_node
        links = self.global_links_per_router or max(1, routers // 2)
        groups = -(-machines.nodes // (self.nodes_per_router * routers))
        if groups - 1 > routers * links:
            raise ValueError(
                f"{machines.nodes} nodes are {groups} groups of {routers} routers, and each group has "
                f"{routers * links} global links: not one to every other group"
            )
        return DragonflyFabric(
            machines,
            nodes_per_router=self.nodes_per_router,
            routers_per_group=routers,
            global_links=links,
            routing=self.routing,
            in_network=self.in_network,
        )


@dataclass(frozen=True)
class DragonflyFabric(Fabric):
    """First each router's links inside its group, taken together; then the links between groups.

    Inside a group packets take any way that is free, so a router's links there are one. Between
    groups, shortest ways know only the links that join the two: one link for each pair of groups.
    By way of a third group all links of a group are one, and half of it is there for the others'
    detours.
    """

    nodes_per_router: int = 2
    routers_per_group: int = 32
    global_links: int = 16
    routing: str = "minimal"

    @property
    def switches(self) -> int:
        """Return the routers with nodes. [count]"""
        return -(-self.machines.nodes // self.nodes_per_router)

    @property
    def groups(self) -> int:
        """Return the groups. [count]"""
        return -(-self.switches // self.routers_per_group)

    @property
    def _detours(self) -> bool:
        return self.routing == "valiant" and self.groups > 2

    def whole_capacities(self) -> FloatArray:
        """Return what routers have inside their groups, then what groups have between them. [B/s]"""
        rate = self.machines.port_bytes_per_s
        inside = np.full(self.groups * self.routers_per_group, (self.routers_per_group - 1) * rate)
        out = self.routers_per_group * self.global_links * rate
        if self._detours:
            return np.concatenate([inside, np.full(self.groups, out / 2.0)])
        pairs = self.groups * (self.groups - 1) // 2
        return np.concatenate([inside, np.full(pairs, out / max(1, self.groups - 1))])

    def lose_switch(self, capacities: FloatArray, fault: Fault) -> None:
        """Take the router's own links; its nodes are cut off, and others go round it."""
        capacities[fault.index] *= fault.left_fraction

    def edges_of(self, nodes: IntArray) -> IntArray:
        """Return each node's router."""
        return nodes // self.nodes_per_router

    def pods_of(self, nodes: IntArray) -> IntArray:
        """Return each node's group."""
        return self.edges_of(nodes) // self.routers_per_group

    def routes(self, source: IntArray, target: IntArray) -> tuple[IntArray, IntArray]:
        """Return the links inside either group and what lies between the groups."""
        here, there = self.edges_of(source), self.edges_of(target)
        away = np.flatnonzero(here != there)
        first, last = self.pods_of(source), self.pods_of(target)
        far = np.flatnonzero(first != last)
        parts = [(away, 2 * here[away]), (away, 2 * there[away] + 1)]
        routers = self.groups * self.routers_per_group
        if self._detours:
            parts += [(far, 2 * (routers + first[far])), (far, 2 * (routers + last[far]) + 1)]
        else:
            low, high = np.minimum(first[far], last[far]), np.maximum(first[far], last[far])
            between = routers + _place_of(low, high, self.groups)
            parts.append((far, 2 * between + (first[far] > last[far])))
        return joined_routes(parts)

    def link_name(self, link: int) -> str:
        """Return ``router-N``, ``group-N`` or ``group-A-group-B``."""
        routers = self.groups * self.routers_per_group
        if link < routers:
            return f"router-{link}"
        if self._detours:
            return f"group-{link - routers}"
        low, high = _pair_at(link - routers, self.groups)
        return f"group-{low}-group-{high}"

    def link_named(self, name: str) -> int | None:
        """Return the link of a name, or None."""
        routers = self.groups * self.routers_per_group
        said = re.fullmatch(r"(router|group)-([0-9]+)(?:-group-([0-9]+))?", name)
        if said is None or (said[3] is not None) == (said[1] == "router" or self._detours):
            return None
        number = int(said[2])
        if said[1] == "router":
            return number if number < routers else None
        if self._detours:
            return routers + number if number < self.groups else None
        low, high = sorted((number, int(said[3])))
        return routers + _place_of(low, high, self.groups) if low < high < self.groups else None

    def switch_name(self, switch: int) -> str:
        """Return ``router-N``."""
        return f"router-{switch}"

    def nodes_of_switch(self, switch: int) -> range:
        """Return the nodes at a router."""
        first = switch * self.nodes_per_router
        return range(first, min(self.machines.nodes, first + self.nodes_per_router))

    def nodes_behind(self, link: int) -> range:
        """Return none: there is always a way round."""
        return range(0)

    @property
    def nodes_per_edge(self) -> int:
        """Return the nodes of a router. [count]"""
        return self.nodes_per_router

    @property
    def nodes_per_pod(self) -> int:
        """Return the nodes of a group; 0 if there is one only. [count]"""
        return self.nodes_per_router * self.routers_per_group if self.groups > 1 else 0

    def tiers(self) -> tuple[Tier, ...]:
        """Return router, group and the links between groups."""
        nodes, rate = self.machines.nodes, self.machines.port_bytes_per_s
        per_router = min(nodes, self.nodes_per_router)
        if self.switches == 1:
            return (Tier("router", per_router, 0.0, 1.0),)
        ports = per_router * self.machines.node_bytes_per_s
        out = (self.routers_per_group - 1 + (self.global_links if self.groups > 1 else 0)) * rate
        router = Tier("router", per_router, out, ports / out)
        if self.groups == 1:
            return router, Tier("group", nodes, 0.0, 1.0)
        per_group = self.nodes_per_router * self.routers_per_group
        up = self.routers_per_group * self.global_links * rate
        group = Tier(
            "group", per_group, up, per_group * self.machines.node_bytes_per_s / up / router.oversubscription
        )
        return router, group, Tier("global", nodes, 0.0, 1.0)

    @property
    def ports_above(self) -> float:
        """Return a router's ports to other routers for each of its ports to GPUs."""
        beyond = self.routers_per_group - 1 + (self.global_links if self.groups > 1 else 0)
        return beyond / (self.nodes_per_router * self.machines.gpus_per_node)

    def graph(self) -> networkx.Graph:
        """Return the routers and every link between them.

        The links of two groups are dealt over the routers of both, in turn.
        """
        import networkx

        graph = networkx.Graph(wiring="dragonfly")
        width, rate = self.routers_per_group, self.machines.port_bytes_per_s
        for router in range(self.groups * width):
            graph.add_node(f"router-{router}", tier="router", nodes=len(self.nodes_of_switch(router)))
        for first in range(0, self.groups * width, width):
            for low in range(first, first + width):
                for high in range(low + 1, first + width):
                    graph.add_edge(f"router-{low}", f"router-{high}", bytes_per_s=rate)
        many = width * self.global_links / max(1, self.groups - 1)
        for low in range(self.groups):
            for high in range(low + 1, self.groups):
                ends = self._gate(low, high), self._gate(high, low)
                graph.add_edge(*ends, bytes_per_s=many * rate)
        return graph

    def _gate(self, group: int, towards: int) -> str:
        """Return the router of a group at which its links to another end."""
        place = (towards - group - 1) % self.groups
        own = place * self.routers_per_group // (self.groups - 1)
        return f"router-{group * self.routers_per_group + own}"


def _place_of(low: IntArray | int, high: IntArray | int, width: int) -> Any:
    """Return the place of a pair among all pairs of `width` things, in order."""
    return low * width - low * (low + 1) // 2 + high - low - 1


def _pair_at(place: int, width: int) -> tuple[int, int]:
    """Return the pair (low, high) at a place among all pairs of `width` things, in order."""
    low = 0
    while place >= width - 1 - low:
        place -= width - 1 - low
        low += 1
    return low, low + 1 + place
