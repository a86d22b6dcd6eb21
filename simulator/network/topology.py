"""A datacenter's fabric at the level of switches: leaves, pods, what their uplinks carry.

Nodes are numbered along the leaves and leaves along the pods. Uplinks of one switch are one
link of their summed bandwidth, which is what fair hashing over them comes to. A node's own
ports are not links here: each GPU has its own, and the performance model knows its rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from simulator.foundation.names import hint
from simulator.network.sharing import Flow
from simulator.network.spread import Spread

if TYPE_CHECKING:
    import networkx

FABRIC_KINDS: Final = ("fat-tree", "rail-optimised")


@dataclass(frozen=True, slots=True)
class Tier:
    """One level of the fabric, from the nodes outwards.

    Parameters
    ----------
    name
        ``leaf``, ``pod`` or ``core``.
    nodes
        Nodes below one switch (or plane of switches) of this level. [count]
    up_bytes_per_s
        Bandwidth that one such unit has upwards, 0 at the top. [B/s]
    oversubscription
        Bandwidth below over bandwidth upwards; 1 at the top.
    """

    name: str
    nodes: int
    up_bytes_per_s: float
    oversubscription: float


@dataclass(frozen=True)
class Fabric:
    """A fat tree or a rail-optimised fabric of one, two or three tiers.

    Parameters
    ----------
    kind
        ``fat-tree``: all GPUs of a node hang on one leaf. ``rail-optimised``: GPU i of every
        node in a group hangs on the group's leaf i.
    nodes, gpus_per_node
        Size of the pool. [count]
    port_bytes_per_s
        Of one GPU into the fabric, one direction. [B/s]
    nodes_per_leaf
        Nodes below one leaf (one group of leaves if rail-optimised); 0: one leaf holds all.
    leaves_per_pod
        Leaves (groups) of one pod; 0: a single pod.
    oversubscription
        Bandwidth below over bandwidth above at the highest tier that has something above it:
        at the leaves with one pod, else at the pods. 7 is written ``1:7`` in a scenario.
    nodes_per_domain
        Nodes of one scale-up domain. [count]
    lost_leaves
        Leaf switches that are down, by index.
    """

    kind: str
    nodes: int
    gpus_per_node: int
    port_bytes_per_s: float
    nodes_per_leaf: int = 0
    leaves_per_pod: int = 0
    oversubscription: float = 1.0
    nodes_per_domain: int = 1
    lost_leaves: tuple[int, ...] = ()
    capacities_bytes_per_s: tuple[float, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be, and derive the links."""
        if self.kind not in FABRIC_KINDS:
            raise ValueError(f"fabric kind {self.kind!r}: {hint(self.kind, FABRIC_KINDS)}")
        for name in ("nodes", "gpus_per_node", "nodes_per_domain"):
            if getattr(self, name) < 1:
                raise ValueError(f"fabric: {name} is {getattr(self, name)}; expected at least 1")
        if not self.port_bytes_per_s > 0.0 or not self.oversubscription >= 1.0:
            raise ValueError(
                f"fabric: port_bytes_per_s {self.port_bytes_per_s} must be above 0 and "
                f"oversubscription {self.oversubscription} at least 1"
            )
        for leaf in self.lost_leaves:
            if not 0 <= leaf < self.switches:
                raise ValueError(f"fabric: no leaf switch {leaf}; there are {self.switches}, from 0")
        node_bytes_per_s = self.gpus_per_node * self.port_bytes_per_s
        per_leaf = min(self.nodes, self.nodes_per_leaf or self.nodes)
        leaf_over = self.oversubscription if self.pods == 1 else 1.0
        up = [per_leaf * node_bytes_per_s / leaf_over] * self.leaves
        if self.kind == "rail-optimised":
            # A lost rail takes its share of the group's uplinks along.
            for leaf in self.lost_leaves:
                up[leaf // self.gpus_per_node] *= 1.0 - 1.0 / self.gpus_per_node
        pod_nodes = per_leaf * (self.leaves_per_pod or self.leaves)
        pods = [pod_nodes * node_bytes_per_s / self.oversubscription] * self.pods
        object.__setattr__(self, "capacities_bytes_per_s", tuple(up + pods))

    @property
    def leaves(self) -> int:
        """Return the leaves (groups of leaves if rail-optimised). [count]"""
        return -(-self.nodes // self.nodes_per_leaf) if self.nodes_per_leaf else 1

    @property
    def pods(self) -> int:
        """Return the pods. [count]"""
        return -(-self.leaves // self.leaves_per_pod) if self.leaves_per_pod else 1

    @property
    def switches(self) -> int:
        """Return the leaf switches: one a leaf, or one a rail of each group. [count]"""
        return self.leaves * (self.gpus_per_node if self.kind == "rail-optimised" else 1)

    def leaf_of(self, node: int) -> int:
        """Return the leaf (group) below which a node hangs."""
        return node // self.nodes_per_leaf if self.nodes_per_leaf else 0

    def pod_of(self, node: int) -> int:
        """Return the pod in which a node is."""
        return self.leaf_of(node) // self.leaves_per_pod if self.leaves_per_pod else 0

    def nodes_of_leaf(self, leaf_switch: int) -> range:
        """Return the nodes below a leaf switch."""
        group = leaf_switch // self.gpus_per_node if self.kind == "rail-optimised" else leaf_switch
        width = self.nodes_per_leaf or self.nodes
        return range(group * width, min(self.nodes, (group + 1) * width))

    def tiers(self) -> tuple[Tier, ...]:
        """Return the levels from the nodes outwards, as the links have them."""
        node_bytes_per_s = self.gpus_per_node * self.port_bytes_per_s
        per_leaf = min(self.nodes, self.nodes_per_leaf or self.nodes)
        if self.leaves == 1:
            return (Tier("leaf", per_leaf, 0.0, 1.0),)
        up = self.capacities_bytes_per_s[0]
        leaf = Tier("leaf", per_leaf, up, per_leaf * node_bytes_per_s / up)
        pod_nodes = min(self.nodes, per_leaf * (self.leaves_per_pod or self.leaves))
        if self.pods == 1:
            return leaf, Tier("pod", self.nodes, 0.0, 1.0)
        up = self.capacities_bytes_per_s[self.leaves]
        pod = Tier("pod", pod_nodes, up, self.oversubscription)
        return leaf, pod, Tier("core", self.nodes, 0.0, 1.0)

    def port_share(self, node: int) -> float:
        """Return the fraction of a node's ports that still work.

        A fat tree's lost leaf cuts its nodes off (0); a rail's lost leaf takes one port of
        each node, and the other GPUs lend theirs.
        """
        if not self.lost_leaves:
            return 1.0
        lost = sum(1 for leaf in self.lost_leaves if node in self.nodes_of_leaf(leaf))
        if self.kind == "fat-tree":
            return 0.0 if lost else 1.0
        return 1.0 - lost / self.gpus_per_node

    def without_leaf(self, leaf_switch: int) -> Fabric:
        """Return this fabric with a leaf switch down."""
        return replace(self, lost_leaves=tuple(sorted({*self.lost_leaves, leaf_switch})))

    def with_leaf(self, leaf_switch: int) -> Fabric:
        """Return this fabric with a leaf switch repaired."""
        return replace(self, lost_leaves=tuple(leaf for leaf in self.lost_leaves if leaf != leaf_switch))

    def spread(self, gpus_on_node: Mapping[int, int]) -> Spread:
        """Return the spread of a placement given as node index to GPUs taken there."""
        return Spread.of_nodes(
            gpus_on_node,
            nodes_per_leaf=self.nodes_per_leaf,
            leaves_per_pod=self.leaves_per_pod,
            nodes_per_domain=self.nodes_per_domain,
        )

    def flow(
        self,
        key: str,
        gpus_on_node: Mapping[int, int],
        bytes_per_step: float,
        *,
        replica_nodes: int = 1,
    ) -> Flow:
        """Return what a job puts on the links: nothing if it lies below one leaf.

        Rings are laid along the leaves, so of all the neighbours below one leaf only the
        last speaks to the next leaf. A job whose replicas span ``replica_nodes`` nodes has
        that many rings side by side, and each crosses.

        Parameters
        ----------
        bytes_per_step
            That each GPU sends into the fabric in a step. [B]
        replica_nodes
            Nodes of one copy of the model. [count]
        """
        ports = min((self.port_share(node) for node in gpus_on_node), default=1.0)
        below: dict[int, int] = {}
        pod_nodes: dict[int, int] = {}
        widest = 0
        for node in sorted(gpus_on_node):
            leaf = self.leaf_of(node)
            below[leaf] = below.get(leaf, 0) + 1
            pod = self.pod_of(node)
            pod_nodes[pod] = pod_nodes.get(pod, 0) + 1
            widest = max(widest, gpus_on_node[node])
        if len(below) < 2 or bytes_per_step <= 0.0:
            return Flow(key, (), (), (), ports)
        links: list[int] = []
        loads: list[float] = []
        peaks: list[float] = []
        units = list(below.items())
        if len(pod_nodes) > 1:
            units += [(self.leaves + pod, count) for pod, count in pod_nodes.items()]
        for link, count in units:
            crossing = widest * min(count, replica_nodes)
            links.append(link)
            loads.append(crossing * bytes_per_step)
            peaks.append(crossing * self.port_bytes_per_s)
        return Flow(key, tuple(links), tuple(loads), tuple(peaks), ports)

    def exchange(
        self,
        key: str,
        senders: Mapping[int, float],
        receivers: Mapping[int, float],
        bytes_per_s: float,
        port_bytes_per_s: float,
    ) -> Flow:
        """Return what a service puts on the links whose senders feed all its receivers alike.

        A link carries both ways alike; the busier way counts. At most as many talk across a
        link at a moment as there are senders on one side of it and receivers on the other.

        Parameters
        ----------
        senders, receivers
            How many are on each node; one that lies on several nodes is divided among them.
        bytes_per_s
            Of all senders together, in the mean. [B/s]
        port_bytes_per_s
            Of the ports of one sender or receiver. [B/s]
        """
        ports = min(self.port_share(node) for node in (*senders, *receivers))
        units: dict[int, tuple[float, float]] = {}
        for place, many in enumerate((senders, receivers)):
            for node in sorted(many):
                for link in (self.leaf_of(node), self.leaves + self.pod_of(node)):
                    here = list(units.get(link, (0.0, 0.0)))
                    here[place] += many[node]
                    units[link] = (here[0], here[1])
        sending, receiving = math.fsum(senders.values()), math.fsum(receivers.values())
        links: list[int] = []
        loads: list[float] = []
        peaks: list[float] = []
        for link in sorted(units):
            sent, received = units[link]
            out = sent / sending * (1.0 - received / receiving)
            into = received / receiving * (1.0 - sent / sending)
            across = max(min(sent, receiving - received), min(received, sending - sent))
            if across > 0.0:
                links.append(link)
                loads.append(max(out, into) * bytes_per_s)
                peaks.append(across * port_bytes_per_s)
        return Flow(key, tuple(links), tuple(loads), tuple(peaks), ports)

    def graph(self) -> networkx.Graph:
        """Return the switches as a graph; edges carry ``link`` (index) and ``bytes_per_s``."""
        import networkx

        graph = networkx.Graph(kind=self.kind)
        rails = self.gpus_per_node if self.kind == "rail-optimised" else 1
        for leaf in range(self.leaves):
            pod = leaf // self.leaves_per_pod if self.leaves_per_pod else 0
            for rail in range(rails):
                switch = leaf * rails + rail
                if switch in self.lost_leaves:
                    continue
                name = f"leaf-{switch}"
                graph.add_node(name, tier="leaf", nodes=len(self.nodes_of_leaf(switch)))
                if self.leaves > 1:
                    alive = rails - sum(1 for lost in self.lost_leaves if lost // rails == leaf)
                    share = self.capacities_bytes_per_s[leaf] / alive
                    graph.add_edge(name, f"pod-{pod}", link=leaf, bytes_per_s=share)
        for pod in range(self.pods):
            if self.leaves > 1:
                graph.add_node(f"pod-{pod}", tier="pod")
            if self.pods > 1:
                capacity = self.capacities_bytes_per_s[self.leaves + pod]
                graph.add_edge(f"pod-{pod}", "core", link=self.leaves + pod, bytes_per_s=capacity)
        if self.pods > 1:
            graph.nodes["core"]["tier"] = "core"
        return graph
