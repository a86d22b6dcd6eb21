"""How the ranks of one job lie over nodes, scale-up domains, leaves and pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Counts that decide a job's communication; the cache key of its performance.

    Parameters
    ----------
    ranks
        GPUs of the job. [count]
    gpus_per_node
        Most GPUs of the job on one node. [count]
    nodes, leaves, pods
        Nodes, leaf switches and pods that the job touches. [count]
    nodes_per_leaf_max
        Most nodes of the job below one leaf. [count]
    domain_gpus
        GPUs of the job in its fullest scale-up (NVLink) domain. [count]
    in_network
        Whether the network's switches add up all-reduces themselves.
    """

    ranks: int
    gpus_per_node: int
    nodes: int
    leaves: int = 1
    nodes_per_leaf_max: int = 0
    pods: int = 1
    domain_gpus: int = 0
    in_network: bool = False

    def __post_init__(self) -> None:
        """Fill what follows from the rest, and refuse counts that contradict each other."""
        if self.nodes_per_leaf_max == 0:
            object.__setattr__(self, "nodes_per_leaf_max", self.nodes)
        if self.domain_gpus == 0:
            object.__setattr__(self, "domain_gpus", self.gpus_per_node)
        if self.ranks < 1 or self.nodes < 1 or self.leaves < 1 or self.pods < 1:
            raise ValueError(f"spread: counts must be at least 1, got {self}")
        if self.ranks > self.nodes * self.gpus_per_node:
            raise ValueError(
                f"spread: {self.ranks} ranks do not fit {self.nodes} nodes of {self.gpus_per_node} GPUs"
            )

    @property
    def crosses_leaf(self) -> bool:
        """Return whether the job loads any link above the leaves."""
        return self.leaves > 1

    @classmethod
    def compact(
        cls,
        ranks: int,
        gpus_per_node: int,
        *,
        nodes_per_leaf: int = 0,
        leaves_per_pod: int = 0,
        domain_gpus: int = 0,
    ) -> Spread:
        """Return the spread of a job packed as tightly as it can be.

        ``nodes_per_leaf`` and ``leaves_per_pod`` of 0 mean that one leaf, one pod holds all;
        ``domain_gpus`` of 0 means that a scale-up domain is a node.
        """
        per_node = min(ranks, gpus_per_node)
        nodes = -(-ranks // gpus_per_node)
        leaves = -(-nodes // nodes_per_leaf) if nodes_per_leaf else 1
        pods = -(-leaves // leaves_per_pod) if leaves_per_pod else 1
        return cls(
            ranks=ranks,
            gpus_per_node=per_node,
            nodes=nodes,
            leaves=leaves,
            nodes_per_leaf_max=min(nodes, nodes_per_leaf) if nodes_per_leaf else nodes,
            pods=pods,
            domain_gpus=min(ranks, max(domain_gpus, gpus_per_node)),
        )

    @classmethod
    def of_nodes(
        cls,
        gpus_on_node: Mapping[int, int],
        *,
        nodes_per_leaf: int = 0,
        leaves_per_pod: int = 0,
        nodes_per_domain: int = 1,
    ) -> Spread:
        """Return the spread of a placement given as node index to GPUs taken there.

        Nodes are numbered along the leaves, leaves along the pods, as in ``Fabric``.
        """
        on_leaf: dict[int, int] = {}
        on_domain: dict[int, int] = {}
        pods: dict[int, None] = {}
        for node, gpus in gpus_on_node.items():
            leaf = node // nodes_per_leaf if nodes_per_leaf else 0
            on_leaf[leaf] = on_leaf.get(leaf, 0) + 1
            domain = node // nodes_per_domain
            on_domain[domain] = on_domain.get(domain, 0) + gpus
            pods[leaf // leaves_per_pod if leaves_per_pod else 0] = None
        return cls(
            ranks=sum(gpus_on_node.values()),
            gpus_per_node=max(gpus_on_node.values()),
            nodes=len(gpus_on_node),
            leaves=len(on_leaf),
            nodes_per_leaf_max=max(on_leaf.values()),
            pods=len(pods),
            domain_gpus=max(on_domain.values()),
        )
