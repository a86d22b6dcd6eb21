"""A datacenter's fabric at the level of switches: what its links carry and which of them a job crosses.

A shape (`trees`, `dragonfly`, `torus`) is chosen by name and wires machines into a `Fabric`.
Cables between the same two places are one link of their summed bandwidth, which is what fair
hashing over them comes to; both ways of a link are alike and the busier one counts. A node's own
ports are not links: each GPU has its own, and the performance model knows its rate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.errors import UnknownNameError
from simulator.foundation.names import hint
from simulator.network.link_names import near_link
from simulator.network.sharing import Flow
from simulator.network.spread import Spread
from simulator.network.traffic import Traffic, pairs_of

if TYPE_CHECKING:
    import networkx

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Machines:
    """What a shape wires.

    Parameters
    ----------
    nodes, gpus_per_node
        [count]
    port_bytes_per_s
        Of one GPU into the fabric, one direction. [B/s]
    nodes_per_domain
        Nodes of one scale-up domain. [count]
    """

    nodes: int
    gpus_per_node: int
    port_bytes_per_s: float
    nodes_per_domain: int = 1

    def __post_init__(self) -> None:
        """Refuse machines that cannot be."""
        for name in ("nodes", "gpus_per_node", "nodes_per_domain"):
            if getattr(self, name) < 1:
                raise ValueError(f"fabric: {name} is {getattr(self, name)}; expected at least 1")
        if not self.port_bytes_per_s > 0.0:
            raise ValueError(f"fabric: port_bytes_per_s {self.port_bytes_per_s} must be above 0")

    @property
    def node_bytes_per_s(self) -> float:
        """Return what all ports of a node carry, one direction. [B/s]"""
        return self.gpus_per_node * self.port_bytes_per_s


@dataclass(frozen=True, slots=True)
class Tier:
    """One level of the fabric, from the nodes outwards.

    Parameters
    ----------
    name
        ``leaf``, ``pod`` or ``core``; ``router``, ``group`` or ``global``.
    nodes
        Nodes below one switch (or plane of switches) of this level. [count]
    up_bytes_per_s
        Bandwidth that one such unit has outwards, 0 at the top. [B/s]
    oversubscription
        Bandwidth of the nodes below over bandwidth outwards, relative to the tier below; 1 at
        the top.
    """

    name: str
    nodes: int
    up_bytes_per_s: float
    oversubscription: float


@dataclass(frozen=True, slots=True)
class Fault:
    """Something of the fabric that is broken, or works in part.

    Parameters
    ----------
    what
        ``switch`` (a leaf or router by number), ``link`` or ``nic`` (a node by number).
    index
        Which one.
    left_fraction
        What still works of it.
    """

    what: Literal["switch", "link", "nic"]
    index: int
    left_fraction: float = 0.0


class Topology(Protocol):
    """A shape of fabric, as a scenario describes it."""

    @property
    def link_bytes_per_s(self) -> float | None:
        """Bandwidth of each GPU into the network; None for the node type's own. [B/s]"""

    def build(self, machines: Machines) -> Fabric:
        """Return the fabric over some machines; ValueError if they do not fit."""


@dataclass(frozen=True)
class Fabric(ABC):
    """What all fabrics know; nodes are numbered along the wiring.

    Parameters
    ----------
    machines
        The nodes and their ports.
    faults
        What is broken now; those of one link multiply.
    in_network
        Whether the switches add up all-reduces themselves.
    capacities_bytes_per_s
        Of each link, one direction, faults included, shape (links,). [B/s]
    """

    machines: Machines
    faults: tuple[Fault, ...] = ()
    in_network: bool = False
    capacities_bytes_per_s: FloatArray = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Derive the links, and take from them what is broken."""
        capacities = self.whole_capacities()
        for fault in self.faults:
            if fault.what == "link":
                capacities[fault.index] *= fault.left_fraction
            elif fault.what == "switch":
                self.lose_switch(capacities, fault)
        object.__setattr__(self, "capacities_bytes_per_s", capacities)

    # ------------------------------------------------------------------ what a shape says

    @abstractmethod
    def whole_capacities(self) -> FloatArray:
        """Return the capacity of each link when nothing is broken. [B/s]"""

    @abstractmethod
    def lose_switch(self, capacities: FloatArray, fault: Fault) -> None:
        """Take from the links what a lost switch takes along."""

    @abstractmethod
    def edges_of(self, nodes: IntArray) -> IntArray:
        """Return the leaf (group of rails, router) that each node hangs on."""

    @abstractmethod
    def pods_of(self, nodes: IntArray) -> IntArray:
        """Return the pod (group of routers) in which each node is."""

    @abstractmethod
    def routes(self, source: IntArray, target: IntArray) -> tuple[IntArray, IntArray]:
        """Return (pair, way) for every link that each pair of nodes crosses; way is 2 x link + direction."""

    @abstractmethod
    def link_name(self, link: int) -> str:
        """Return what people call a link."""

    @abstractmethod
    def link_named(self, name: str) -> int | None:
        """Return the link of a name, or None."""

    @abstractmethod
    def switch_name(self, switch: int) -> str:
        """Return what people call a leaf switch or router."""

    @property
    @abstractmethod
    def switches(self) -> int:
        """Return the leaf switches or routers. [count]"""

    @abstractmethod
    def nodes_of_switch(self, switch: int) -> range:
        """Return the nodes that hang on a leaf switch or router."""

    @abstractmethod
    def nodes_behind(self, link: int) -> range:
        """Return the nodes that nobody else reaches without a link; empty where there is a way round."""

    @property
    @abstractmethod
    def nodes_per_edge(self) -> int:
        """Return the nodes of a whole leaf or router. [count]"""

    @property
    @abstractmethod
    def nodes_per_pod(self) -> int:
        """Return the nodes of a whole pod or group; 0 if there is one only. [count]"""

    @abstractmethod
    def tiers(self) -> tuple[Tier, ...]:
        """Return the levels from the nodes outwards, as the links have them."""

    @abstractmethod
    def graph(self) -> networkx.Graph:
        """Return the switches as a graph.

        Nodes carry ``tier`` and, where machines hang on them, ``nodes``; edges carry ``link``
        (index) and ``bytes_per_s``.
        """

    @property
    def ports_per_switch_loss(self) -> float:
        """Return the part of a node's ports that one lost leaf switch takes."""
        return 1.0

    @property
    def ports_above(self) -> float:
        """Return the switch ports above the leaves for each GPU port below them."""
        return sum(2.0 / over for over in self.oversubscriptions())

    def oversubscriptions(self) -> list[float]:
        """Return the bandwidth of the nodes below over that outwards, tier by tier, top left out."""
        below = 1.0
        found = []
        for tier in self.tiers()[:-1]:
            below *= tier.oversubscription
            found.append(below)
        return found

    # ------------------------------------------------------------------ names and faults

    @property
    def links(self) -> int:
        """Return how many links there are. [count]"""
        return len(self.capacities_bytes_per_s)

    def find_link(self, name: str) -> int:
        """Return the link of a name; UnknownNameError names the nearest."""
        found = self.link_named(name)
        if found is None:
            known = [self.link_name(link) for link in range(self.links)]
            raise UnknownNameError(f"no link {name!r}; there are {self.links}", near_link(name, known))
        return found

    def link_faults(self, name: str, left_fraction: float) -> tuple[Fault, ...]:
        """Return the faults of a link, or of all links of a kind (``leaf-*``).

        Raises
        ------
        UnknownNameError
            There is no such link.
        """
        if not name.endswith("-*"):
            return (Fault("link", self.find_link(name), left_fraction),)
        kind = name.removesuffix("*")
        found = [link for link in range(self.links) if self.link_name(link).startswith(kind)]
        if not found:
            raise UnknownNameError(f"no links {name!r}", hint(name, [self.link_name(0)]))
        return tuple(Fault("link", link, left_fraction) for link in found)

    def switch_faults(self, name: str, left_fraction: float) -> tuple[Fault, ...]:
        """Return the faults of a leaf switch or router.

        Raises
        ------
        UnknownNameError
            There is no such switch.
        ValueError
            Part of a single switch is said to be left.
        """
        kind, _, number = name.rpartition("-")
        if self.switch_name(0) != f"{kind}-0" or not number.isdecimal() or int(number) >= self.switches:
            known = [self.switch_name(switch) for switch in range(self.switches)]
            raise UnknownNameError(f"no switch {name!r}; there are {self.switches}", near_link(name, known))
        if left_fraction > 0.0:
            raise ValueError("is one switch and lost as a whole; leave `lost` out")
        return (Fault("switch", int(number)),)

    def with_fault(self, fault: Fault) -> Fabric:
        """Return this fabric with one thing more broken."""
        return replace(self, faults=(*self.faults, fault))

    def without_fault(self, fault: Fault) -> Fabric:
        """Return this fabric with one fault over; an equal one may still hold."""
        rest = list(self.faults)
        rest.remove(fault)
        return replace(self, faults=tuple(rest))

    def port_share(self, node: int) -> float:
        """Return the fraction of a node's ports that still work; 0 if it is cut off."""
        if not self.faults:
            return 1.0
        share = 1.0
        gone: dict[int, None] = {}
        for fault in self.faults:
            if fault.what == "nic" and fault.index == node:
                share = min(share, fault.left_fraction)
            elif fault.what == "switch" and node in self.nodes_of_switch(fault.index):
                gone[fault.index] = None
        return max(0.0, share - len(gone) * self.ports_per_switch_loss)

    # ------------------------------------------------------------------ what crosses what

    def spread(self, gpus_on_node: Mapping[int, int]) -> Spread:
        """Return the spread of a placement given as node index to GPUs taken there."""
        nodes = np.fromiter(gpus_on_node, dtype=np.int64, count=len(gpus_on_node))
        gpus = np.fromiter(gpus_on_node.values(), dtype=np.int64, count=len(gpus_on_node))
        edges, below = np.unique(self.edges_of(nodes), return_counts=True)
        domains = nodes // self.machines.nodes_per_domain
        return Spread(
            ranks=int(gpus.sum()),
            gpus_per_node=int(gpus.max()),
            nodes=len(nodes),
            leaves=len(edges),
            nodes_per_leaf_max=int(below.max()),
            pods=len(np.unique(self.pods_of(nodes))),
            domain_gpus=int(np.bincount(domains - domains.min(), gpus).max()),
            in_network=self.in_network,
        )

    def flows(
        self,
        key: str,
        gpus_on_node: Mapping[int, int],
        traffic: Sequence[Traffic],
        order: IntArray | None = None,
    ) -> tuple[Flow, ...]:
        """Return what a job's exchanges put on the links, one flow a kind; none if it stays inside a leaf.

        Parameters
        ----------
        gpus_on_node
            Node to GPUs taken there; ranks follow the node numbers.
        traffic
            What each GPU sends, and to whom.
        order
            Where the nodes stand in the job's ranks, if not by number: a permutation of
            0 .. nodes - 1, shape (nodes,).
        """
        nodes = np.array(sorted(gpus_on_node), dtype=np.int64)
        ports = min((self.port_share(int(node)) for node in nodes), default=1.0) if self.faults else 1.0
        if len(nodes) < 2 or len(np.unique(self.edges_of(nodes))) < 2:
            talking = [kind for kind in traffic if kind.bytes_per_step > 0.0]
            return tuple(self._inside(key, kind, ports) for kind in talking)
        if order is not None:
            nodes = nodes[order]
        widest = max(gpus_on_node.values())
        found = []
        for kind in traffic:
            if kind.bytes_per_step <= 0.0:
                continue
            source, target, weight = pairs_of(kind, len(nodes))
            load = self._loads(nodes[source], nodes[target], weight) * widest * kind.bytes_per_step
            links = np.flatnonzero(load)
            talk_s = kind.bytes_per_step / self.machines.port_bytes_per_s
            found.append(
                Flow(
                    key,
                    tuple(links.tolist()),
                    tuple(load[links].tolist()),
                    tuple((load[links] / talk_s).tolist()),
                    ports,
                    kind.kind,
                    talk_s,
                )
            )
        return tuple(found)

    def could_fill(self) -> NDArray[np.bool_]:
        """Return for each link whether all that may talk across it at once exceeds it, shape (links,)."""
        return np.ones(self.links, dtype=bool)

    def contended(self, flow: Flow) -> Flow:
        """Return a flow without the links that carry whatever their nodes can send: they hold nobody up."""
        if not flow.links:
            return flow
        links = np.array(flow.links)
        kept = np.flatnonzero(self.could_fill()[links]).tolist()
        if len(kept) == len(links):
            return flow
        return replace(
            flow,
            links=tuple(flow.links[place] for place in kept),
            bytes_per_step=tuple(flow.bytes_per_step[place] for place in kept),
            peak_bytes_per_s=tuple(flow.peak_bytes_per_s[place] for place in kept),
        )

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
        sent = np.array([senders[node] for node in sorted(senders)])
        got = np.array([receivers[node] for node in sorted(receivers)])
        source = np.repeat(np.array(sorted(senders), dtype=np.int64), len(got))
        target = np.tile(np.array(sorted(receivers), dtype=np.int64), len(sent))
        weight = np.outer(sent / sent.sum(), got / got.sum()).ravel()
        pair, way = self.routes(source, target)
        ways = 2 * self.links
        load = np.bincount(way, weight[pair], ways).reshape(-1, 2).max(axis=1) * bytes_per_s
        # How many stand at either end of a way: each sender and receiver counted once.
        talkers = np.minimum(
            _distinct(way, pair // len(got), sent, ways), _distinct(way, pair % len(got), got, ways)
        )
        across = talkers.reshape(-1, 2).max(axis=1)
        # A service that has moved nothing yet may still talk, and wants to know how fast.
        links = np.flatnonzero(across)
        return Flow(
            key,
            tuple(links.tolist()),
            tuple(load[links].tolist()),
            tuple((across[links] * port_bytes_per_s).tolist()),
            ports,
            "kv",
        )

    def _loads(self, source: IntArray, target: IntArray, weight: FloatArray) -> FloatArray:
        """Return the weight that crosses each link, in its busier direction, shape (links,)."""
        pair, way = self.routes(source, target)
        load: FloatArray = np.bincount(way, weight[pair], 2 * self.links).reshape(-1, 2).max(axis=1)
        return load

    def _inside(self, key: str, kind: Traffic, ports: float) -> Flow:
        talk_s = kind.bytes_per_step / self.machines.port_bytes_per_s
        return Flow(key, (), (), (), ports, kind.kind, talk_s)


def _distinct(way: IntArray, who: IntArray, many: FloatArray, ways: int) -> FloatArray:
    """Return how many use each way, shape (ways,)."""
    seen = np.unique(way * len(many) + who)
    return np.bincount(seen // len(many), many[seen % len(many)], ways).astype(np.float64)


def joined_routes(parts: Sequence[tuple[Any, Any]]) -> tuple[IntArray, IntArray]:
    """Return routes given piece by piece as one (pair, way)."""
    return (
        np.concatenate([np.asarray(pair, dtype=np.int64) for pair, _ in parts]),
        np.concatenate([np.asarray(way, dtype=np.int64) for _, way in parts]),
    )
