"""Fat trees, rail-optimised and rail-only fabrics: leaves, pods of leaves, and a core above."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.quantity import BytesPerSecond, Count, Oversubscription
from simulator.network.settling import TOLERANCE
from simulator.network.topology import (
    Fabric,
    Fault,
    FloatArray,
    IntArray,
    Machines,
    Tier,
    joined_routes,
)

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True)
class FatTree:
    """All GPUs of a node hang on one leaf; leaves on a pod's switches, pods on a core."""

    link_bytes_per_s: Annotated[
        BytesPerSecond | None, "Network bandwidth of each GPU; the node type's own if not given."
    ] = None
    oversubscription: Annotated[
        Oversubscription,
        'Bandwidth below over above at the highest tier that has something above it, "1:1" or "1:7": '
        "at the pods, or at the leaves if there is one pod.",
    ] = 1.0
    nodes_per_leaf: Annotated[Count, "Nodes below one leaf switch."] = 4
    leaves_per_pod: Annotated[
        Count, "Leaves below one pod switch, which then is where links are shared; 0: one pod."
    ] = 0
    leaf_oversubscription: Annotated[
        Oversubscription, "The same at the leaves, where there are pods above them."
    ] = 1.0
    in_network: Annotated[bool, "Whether the switches add up all-reduces themselves."] = False

    def __post_init__(self) -> None:
        """Refuse what cannot be wired."""
        _check(self.nodes_per_leaf, self.leaves_per_pod, self.oversubscription, self.leaf_oversubscription)

    def build(self, machines: Machines) -> TreeFabric:
        """Return the fabric over some machines."""
        return _tree("node", self, machines)


@dataclass(frozen=True)
class RailOptimised:
    """GPU i of every node in a group hangs on the group's leaf i; a spine joins the rails."""

    link_bytes_per_s: Annotated[
        BytesPerSecond | None, "Network bandwidth of each GPU; the node type's own if not given."
    ] = None
    oversubscription: Annotated[
        Oversubscription,
        'Bandwidth below over above at the highest tier that has something above it, "1:1" or "1:7".',
    ] = 1.0
    nodes_per_leaf: Annotated[Count, "Nodes of one group: each has a port at every rail's leaf."] = 4
    leaves_per_pod: Annotated[Count, "Groups of one pod; 0: one pod."] = 0
    leaf_oversubscription: Annotated[
        Oversubscription, "The same at the leaves, where there are pods above them."
    ] = 1.0
    in_network: Annotated[bool, "Whether the switches add up all-reduces themselves."] = False

    def __post_init__(self) -> None:
        """Refuse what cannot be wired."""
        _check(self.nodes_per_leaf, self.leaves_per_pod, self.oversubscription, self.leaf_oversubscription)

    def build(self, machines: Machines) -> TreeFabric:
        """Return the fabric over some machines."""
        return _tree("rail", self, machines)


@dataclass(frozen=True)
class RailOnly:
    """GPU i of every node is joined with the others of that number only; between rails, NVLink passes on.

    References
    ----------
    Wang et al., "Rail-only: a low-cost high-performance network for training LLMs with trillion
    parameters", 2023.
    """

    link_bytes_per_s: Annotated[
        BytesPerSecond | None, "Network bandwidth of each GPU; the node type's own if not given."
    ] = None
    oversubscription: Annotated[
        Oversubscription, 'Bandwidth below over above in a rail that has several switches, "1:1" or "1:7".'
    ] = 1.0
    nodes_per_leaf: Annotated[Count, "Nodes below one switch of each rail."] = 64
    in_network: Annotated[bool, "Whether the switches add up all-reduces themselves."] = False

    def __post_init__(self) -> None:
        """Refuse what cannot be wired."""
        _check(self.nodes_per_leaf, 0, self.oversubscription, 1.0)

    def build(self, machines: Machines) -> TreeFabric:
        """Return the fabric over some machines."""
        return TreeFabric(
            machines,
            wiring="rail-only",
            nodes_per_leaf=self.nodes_per_leaf,
            oversubscription=self.oversubscription,
            in_network=self.in_network,
        )


@dataclass(frozen=True)
class TreeFabric(Fabric):
    """A tree of one, two or three tiers; link i is leaf i's way up, then come the pods' ways up.

    Parameters
    ----------
    wiring
        ``node``: all ports of a node at one leaf; ``rail``: one port at each of a group's
        leaves; ``rail-only``: so too, with nothing above that joins rails.
    nodes_per_leaf, leaves_per_pod
        Nodes of one leaf or group of rails; leaves of one pod, 0: a single pod. [count]
    oversubscription, leaf_oversubscription
        Below over above at the top and, under pods, at the leaves.
    """

    wiring: Literal["node", "rail", "rail-only"] = "node"
    nodes_per_leaf: int = 4
    leaves_per_pod: int = 0
    oversubscription: float = 1.0
    leaf_oversubscription: float = 1.0

    @property
    def leaves(self) -> int:
        """Return the leaves (groups of leaves where there are rails). [count]"""
        return -(-self.machines.nodes // self.nodes_per_leaf)

    @property
    def pods(self) -> int:
        """Return the pods. [count]"""
        return -(-self.leaves // self.leaves_per_pod) if self.leaves_per_pod else 1

    @property
    def rails(self) -> int:
        """Return the leaf switches side by side below which each node hangs. [count]"""
        return 1 if self.wiring == "node" else self.machines.gpus_per_node

    @property
    def switches(self) -> int:
        """Return the leaf switches: one a leaf, or one a rail of each group. [count]"""
        return self.leaves * self.rails

    @property
    def ports_per_switch_loss(self) -> float:
        """Return the part of a node's ports that one lost leaf switch takes.

        A rail's leaf takes one port of each node, and the other GPUs lend theirs.
        """
        return 1.0 / self.rails

    def whole_capacities(self) -> FloatArray:
        """Return the ways up of leaves and pods. [B/s]"""
        leaf = min(self.machines.nodes, self.nodes_per_leaf) * self.machines.node_bytes_per_s
        if self.pods == 1:
            return np.full(self.leaves, leaf / self.oversubscription)
        up = np.full(self.leaves, leaf / self.leaf_oversubscription)
        pod = leaf * self.leaves_per_pod / self.leaf_oversubscription / self.oversubscription
        return np.concatenate([up, np.full(self.pods, pod)])

    def could_fill(self) -> NDArray[np.bool_]:
        """Return which ways up have less than the ports below them."""
        leaf = self.nodes_per_leaf * self.machines.node_bytes_per_s
        below = np.full(self.links, min(leaf, self.machines.nodes * self.machines.node_bytes_per_s))
        below[self.leaves :] *= self.leaves_per_pod or self.leaves
        full: NDArray[np.bool_] = self.capacities_bytes_per_s < below * (1.0 - TOLERANCE)
        return full

    def lose_switch(self, capacities: FloatArray, fault: Fault) -> None:
        """Take a lost leaf's ways up, or a lost rail's part of its group's."""
        leaf = fault.index // self.rails
        whole = self.whole_capacities()[leaf]
        lost = (1.0 - fault.left_fraction) * whole / self.rails
        capacities[leaf] = max(0.0, capacities[leaf] - lost)

    def edges_of(self, nodes: IntArray) -> IntArray:
        """Return the leaf (group) below which each node hangs."""
        return nodes // self.nodes_per_leaf

    def pods_of(self, nodes: IntArray) -> IntArray:
        """Return the pod in which each node is."""
        leaves = self.edges_of(nodes)
        return leaves // self.leaves_per_pod if self.leaves_per_pod else np.zeros_like(leaves)

    def routes(self, source: IntArray, target: IntArray) -> tuple[IntArray, IntArray]:
        """Return the ways up to the lowest switch above both, and down again."""
        here, there = self.edges_of(source), self.edges_of(target)
        away = np.flatnonzero(here != there)
        parts = [(away, 2 * here[away]), (away, 2 * there[away] + 1)]
        if self.pods > 1:
            here, there = self.pods_of(source) + self.leaves, self.pods_of(target) + self.leaves
            far = np.flatnonzero(here != there)
            parts += [(far, 2 * here[far]), (far, 2 * there[far] + 1)]
        return joined_routes(parts)

    def link_name(self, link: int) -> str:
        """Return ``leaf-N`` or ``pod-N``: the ways up from there."""
        return f"leaf-{link}" if link < self.leaves else f"pod-{link - self.leaves}"

    def link_named(self, name: str) -> int | None:
        """Return the link of a name, or None."""
        said = re.fullmatch(r"(leaf|pod)-([0-9]+)", name)
        if said is None or self.leaves == 1:
            return None
        number = int(said[2])
        if said[1] == "leaf":
            return number if number < self.leaves else None
        return self.leaves + number if self.pods > 1 and number < self.pods else None

    def switch_name(self, switch: int) -> str:
        """Return ``leaf-N``."""
        return f"leaf-{switch}"

    def nodes_of_switch(self, switch: int) -> range:
        """Return the nodes below a leaf switch."""
        group = switch // self.rails
        return range(group * self.nodes_per_leaf, min(self.machines.nodes, (group + 1) * self.nodes_per_leaf))

    def switch_faults(self, name: str, left_fraction: float) -> tuple[Fault, ...]:
        """Return the faults of a leaf, or of part of the switches of a pod or of the core.

        A pod's switches carry its leaves' ways up and its own; the core's, those of all pods.
        """
        pod = self.link_named(name) if name.startswith("pod-") else None
        if name == "core" and self.pods > 1:
            links = list(range(self.leaves, self.links))
        elif name == "pod-0" and self.pods == 1 and self.leaves > 1:
            links = list(range(self.leaves))
        elif pod is not None:
            first = (pod - self.leaves) * self.leaves_per_pod
            links = [*range(first, min(self.leaves, first + self.leaves_per_pod)), pod]
        else:
            return super().switch_faults(name, left_fraction)
        return tuple(Fault("link", link, left_fraction) for link in links)

    def nodes_behind(self, link: int) -> range:
        """Return the nodes below a way up: it is the only one."""
        if link < self.leaves:
            return self.nodes_of_switch(link * self.rails)
        width = self.nodes_per_leaf * (self.leaves_per_pod or self.leaves)
        pod = link - self.leaves
        return range(pod * width, min(self.machines.nodes, (pod + 1) * width))

    @property
    def nodes_per_edge(self) -> int:
        """Return the nodes of a whole leaf. [count]"""
        return self.nodes_per_leaf

    @property
    def nodes_per_pod(self) -> int:
        """Return the nodes of a whole pod; 0 if there is one only. [count]"""
        return self.nodes_per_leaf * self.leaves_per_pod if self.pods > 1 else 0

    def tiers(self) -> tuple[Tier, ...]:
        """Return leaf, pod and core, as far as there are any."""
        nodes = self.machines.nodes
        per_leaf = min(nodes, self.nodes_per_leaf)
        if self.leaves == 1:
            return (Tier("leaf", per_leaf, 0.0, 1.0),)
        whole = self.whole_capacities()
        below = per_leaf * self.machines.node_bytes_per_s
        leaf = Tier("leaf", per_leaf, float(whole[0]), below / float(whole[0]))
        if self.pods == 1:
            return leaf, Tier("pod", nodes, 0.0, 1.0)
        pod_nodes = min(nodes, per_leaf * self.leaves_per_pod)
        pod = Tier("pod", pod_nodes, float(whole[self.leaves]), self.oversubscription)
        return leaf, pod, Tier("core", nodes, 0.0, 1.0)

    def graph(self) -> networkx.Graph:
        """Return leaf switches, pods and core; a lost switch is not there."""
        import networkx

        graph = networkx.Graph(wiring=self.wiring)
        lost = {fault.index for fault in self.faults if fault.what == "switch" and not fault.left_fraction}
        planes = self.rails if self.wiring == "rail-only" else 1
        for leaf in range(self.leaves):
            pod = leaf // self.leaves_per_pod if self.leaves_per_pod else 0
            alive = [rail for rail in range(self.rails) if leaf * self.rails + rail not in lost]
            for rail in alive:
                name = f"leaf-{leaf * self.rails + rail}"
                graph.add_node(name, tier="leaf", nodes=len(self.nodes_of_switch(leaf * self.rails)))
                if self.leaves > 1:
                    share = float(self.capacities_bytes_per_s[leaf]) / len(alive)
                    above = f"pod-{pod}" if planes == 1 else f"rail-{rail}"
                    graph.add_node(above, tier="pod" if planes == 1 else "rail")
                    graph.add_edge(name, above, link=leaf, bytes_per_s=share)
        if self.pods > 1:
            for pod in range(self.pods):
                capacity = float(self.capacities_bytes_per_s[self.leaves + pod])
                graph.add_edge(f"pod-{pod}", "core", link=self.leaves + pod, bytes_per_s=capacity)
            graph.nodes["core"]["tier"] = "core"
        return graph


def _tree(wiring: Literal["node", "rail"], shape: FatTree | RailOptimised, machines: Machines) -> TreeFabric:
    return TreeFabric(
        machines,
        wiring=wiring,
        nodes_per_leaf=shape.nodes_per_leaf,
        leaves_per_pod=shape.leaves_per_pod,
        oversubscription=shape.oversubscription,
        leaf_oversubscription=shape.leaf_oversubscription,
        in_network=shape.in_network,
    )


def _check(nodes_per_leaf: int, leaves_per_pod: int, *over: float) -> None:
    if nodes_per_leaf < 1 or leaves_per_pod < 0:
        raise ValueError(
            f"nodes_per_leaf is {nodes_per_leaf} and leaves_per_pod {leaves_per_pod}; "
            "expected at least 1 and at least 0"
        )
    if min(over) < 1.0:
        raise ValueError(f'oversubscription {min(over)}: expected at least 1, written "1:1" or "1:7"')
