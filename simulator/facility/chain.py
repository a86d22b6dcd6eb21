"""The electrical chain between nodes and meter: what each conversion loses at each load."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.catalog.entries import ChainSpec

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stage:
    """One conversion: input = output + fixed + linear x output + quadratic x output^2."""

    name: str
    fixed_w: float = 0.0
    """Loss at no load, of all modules together. [W]"""
    linear_fraction: float = 0.0
    """Loss per watt out."""
    quadratic_per_w: float = 0.0
    """Loss per square watt out. [1/W]"""
    carries_network: bool = True
    """The switches hang behind this stage."""

    def __post_init__(self) -> None:
        for field in ("fixed_w", "linear_fraction", "quadratic_per_w"):
            value = getattr(self, field)
            if not value >= 0.0:
                raise ValueError(f"stage {self.name}: {field} is {value}; a loss is never negative")

    @classmethod
    def from_efficiency(
        cls,
        name: str,
        efficiency: float,
        constant_w: float = 0.0,
        modules: int = 1,
        carries_network: bool = True,
    ) -> Stage:
        """Return `modules` equal converters with input = (output + constant) / efficiency each.

        Linear in the output, so how the load is spread over the modules does not matter.

        Parameters
        ----------
        name
            What it is.
        efficiency
            0 to 1.
        constant_w
            Added to each module's output. [W]
        modules
            How many there are.
        carries_network
            Whether the switches hang behind it.
        """
        if not 0.0 < efficiency <= 1.0:
            raise ValueError(f"stage {name}: efficiency is {efficiency}; expected more than 0, at most 1")
        return cls(
            name,
            fixed_w=modules * constant_w / efficiency,
            linear_fraction=1.0 / efficiency - 1.0,
            carries_network=carries_network,
        )

    def input_w(self, output_w: ArrayLike) -> FloatArray:
        """Return what goes in for what comes out. [W]"""
        output = np.asarray(output_w, dtype=float)
        return np.asarray(
            output + self.fixed_w + self.linear_fraction * output + self.quadratic_per_w * output**2
        )


@dataclass(frozen=True, slots=True)
class PowerChain:
    """Stages in order from the nodes to the meter; no stages lose nothing."""

    stages: tuple[Stage, ...] = ()

    @classmethod
    def from_spec(cls, spec: ChainSpec, nodes: int, peak_node_w: float, network_w: float = 0.0) -> PowerChain:
        """Return the catalog's chain, sized to a site.

        Parameters
        ----------
        spec
            The entry; its fractions are of each stage's installed capacity.
        nodes
            Nodes behind the chain.
        peak_node_w
            Largest power of all nodes, at their inlets. [W]
        network_w
            Switches and other constant IT. [W]
        """
        stages: list[Stage] = []
        load_w = peak_node_w
        network_joined = False
        for entry in spec.stages:
            if entry.carries_network and not network_joined:
                load_w += network_w
                network_joined = True
            rated_w = entry.rated_over_peak * load_w
            stage = Stage(
                entry.stage,
                fixed_w=entry.fixed_fraction * rated_w + entry.fixed_w_per_node * nodes,
                linear_fraction=entry.linear_fraction,
                quadratic_per_w=entry.quadratic_fraction / rated_w if rated_w > 0.0 else 0.0,
                carries_network=entry.carries_network,
            )
            load_w = float(stage.input_w(load_w))
            stages.append(stage)
        return cls(tuple(stages))

    def input_w(self, node_w: ArrayLike, network_w: float = 0.0) -> FloatArray:
        """Return the power drawn at the chain's meter end. [W]

        Parameters
        ----------
        node_w
            Power at the nodes' inlets. [W]
        network_w
            Switches and other constant IT; joins at the first stage that carries it. [W]
        """
        power_w = np.asarray(node_w, dtype=float)
        joined = False
        for stage in self.stages:
            if stage.carries_network and not joined:
                power_w = power_w + network_w
                joined = True
            power_w = stage.input_w(power_w)
        return power_w if joined else np.asarray(power_w + network_w)

    def loss_w(self, node_w: ArrayLike, network_w: float = 0.0) -> FloatArray:
        """Return what the chain turns into heat. [W]"""
        return np.asarray(self.input_w(node_w, network_w) - np.asarray(node_w, dtype=float) - network_w)
