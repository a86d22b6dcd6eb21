"""What the catalog's entries look like: one frozen dataclass a kind, in SI units.

A field's unit is part of its name and of its type, so the reader of the YAML files knows it without a
second table. ``None`` is a blank: no source gave the number. Read such a field through
``Catalog.need``, which refuses a blank by name. Nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray

from simulator.foundation.names import hint
from simulator.foundation.quantity import (
    Bytes,
    BytesPerSecond,
    Celsius,
    FlopPerSecond,
    Fraction,
    Grams,
    GramsPerKwh,
    LitresPerKwh,
    Metres,
    Pascals,
    Quantity,
    Seconds,
    Usd,
    UsdPerKwh,
    UsdPerKwMonth,
    UsdPerLitre,
    UsdPerW,
    Watts,
)

GramsPerW = Annotated[float, Quantity("g/W")]

#: Fuels whose generation counts as carbon-free when hours are matched; biomass does not.
CARBON_FREE: Final[tuple[str, ...]] = ("nuclear", "hydro", "solar", "wind", "geothermal")

#: Read-only numbers; each kind that has tables has one shape of them, in `TABLE_SHAPES`.
Table = NDArray[np.float64]


def one_of(field_name: str, value: str, known: Sequence[str]) -> None:
    """Raise ValueError unless `value` is one of the known words."""
    if value not in known:
        raise ValueError(f"{field_name} is '{value}'; {hint(value, known)}")


@dataclass(frozen=True)
class GpuSpec:
    """One GPU: dense arithmetic, memory, watts, its port into the scale-up domain."""

    name: str
    title: Annotated[str, "Name for people."]
    generation: Annotated[str, "Volta, Ampere, Hopper, Blackwell ..."]
    release_year: Annotated[int, "Year of first shipment."]
    memory_bytes: Annotated[Bytes, "Capacity of the high-bandwidth memory."]
    memory_bandwidth_bytes_per_s: Annotated[BytesPerSecond, "Peak of that memory."]
    fp32_flop_per_s: Annotated[FlopPerSecond | None, "Dense peak, FP32 outside the tensor cores."]
    tf32_flop_per_s: Annotated[FlopPerSecond | None, "Dense peak, TF32 tensor cores."]
    fp16_flop_per_s: Annotated[FlopPerSecond | None, "Dense peak, FP16 tensor cores."]
    bf16_flop_per_s: Annotated[FlopPerSecond | None, "Dense peak, BF16 tensor cores."]
    fp8_flop_per_s: Annotated[FlopPerSecond | None, "Dense peak, FP8 tensor cores."]
    fp4_flop_per_s: Annotated[FlopPerSecond | None, "Dense peak, FP4 tensor cores."]
    tdp_w: Annotated[Watts, "Thermal design power, the highest cap."]
    idle_w: Annotated[Watts | None, "No process on the GPU."]
    loaded_idle_w: Annotated[Watts | None, "A model resident and clocks up, no work."]
    min_cap_w: Annotated[Watts | None, "Lowest power cap the part accepts."]
    scale_up_bandwidth_bytes_per_s: Annotated[
        BytesPerSecond, "Into the scale-up domain, one direction, per GPU."
    ]
    embodied_gco2e: Annotated[Grams | None, "Cradle to gate, one GPU module."]
    # What one device was measured to do, in place of what its generation's coefficients say; blank: theirs.
    reached_16_bit_fraction: Annotated[
        Fraction | None, "Of the 16-bit dense peak, what large products of a service reach."
    ] = None
    reached_fp8_fraction: Annotated[
        Fraction | None, "Of the FP8 dense peak, what large products of a service reach."
    ] = None
    reached_memory_fraction: Annotated[
        Fraction | None, "Of the memory's peak, what products that stream 16-bit weights reach."
    ] = None
    reached_cache_fraction: Annotated[
        Fraction | None, "Of the memory's peak, what decode attention reads remembered tokens at."
    ] = None
    product_launch_s: Annotated[Seconds | None, "A 16-bit product of no size."] = None
    sustained_products_w: Annotated[Watts | None, "Large products without end, at full clock."] = None
    sustained_copy_w: Annotated[Watts | None, "Copying its memory without end, at full clock."] = None
    clock_voltage_slope: Annotated[
        Fraction | None, "Fall of voltage, as a fraction, for each unit of fall of the clock fraction."
    ] = None
    lowest_voltage_fraction: Annotated[
        Fraction | None, "Voltage below which a falling clock does not take it, of its highest."
    ] = None
    memory_clock_sensitivity: Annotated[
        Fraction | None, "How much of memory-bound time stretches with the core clock, 0 to 1."
    ] = None

    def __post_init__(self) -> None:
        for said in (
            "reached_16_bit_fraction",
            "reached_fp8_fraction",
            "reached_memory_fraction",
            "reached_cache_fraction",
            "lowest_voltage_fraction",
        ):
            value = getattr(self, said)
            if value is not None and not 0.0 < value <= 1.0:
                raise ValueError(f"{said} is {value:g}; expected a share above 0 and at most 1")
        for said in ("clock_voltage_slope", "memory_clock_sensitivity"):
            value = getattr(self, said)
            if value is not None and not 0.0 <= value <= 1.0:
                raise ValueError(f"{said} is {value:g}; expected 0 to 100 %")

    def flop_per_s(self, precision: str) -> float | None:
        """Return the dense peak at ``precision`` (``bf16`` ...), None where blank. [flop/s]"""
        known = {
            "fp32": self.fp32_flop_per_s,
            "tf32": self.tf32_flop_per_s,
            "fp16": self.fp16_flop_per_s,
            "bf16": self.bf16_flop_per_s,
            "fp8": self.fp8_flop_per_s,
            "fp4": self.fp4_flop_per_s,
        }
        if precision not in known:
            raise ValueError(f"unknown precision {precision!r}; known: {', '.join(known)}")
        return known[precision]


@dataclass(frozen=True)
class NodeSpec:
    """One node: its GPUs, its network ports, and the watts of everything that is not a GPU."""

    name: str
    title: Annotated[str, "Name for people."]
    gpu: Annotated[str, "The GPU's name in the catalog."]
    gpus_per_node: Annotated[int, "GPUs in one node."]
    scale_up_domain_gpus: Annotated[int, "GPUs in one scale-up domain; may span nodes."]
    nic_bandwidth_bytes_per_s: Annotated[
        BytesPerSecond, "Scale-out network, one direction, per GPU (not per node)."
    ]
    host_to_gpu_bandwidth_bytes_per_s: Annotated[
        BytesPerSecond | None, "Host memory to one GPU, one direction."
    ]
    host_idle_w: Annotated[Watts | None, "The node without its GPUs, idle, at the supply's input."]
    host_active_w: Annotated[Watts | None, "The node without its GPUs, all GPUs busy, same place."]
    maximum_power_w: Annotated[Watts | None, "The whole node's rating."]
    price_usd: Annotated[Usd | None, "The whole node with GPUs, without fabric."]
    embodied_gco2e: Annotated[Grams | None, "Cradle to gate, the whole node with GPUs."]
    liquid_heat_fraction: Annotated[Fraction, "Share of the node's heat that leaves in liquid."]


@dataclass(frozen=True)
class LinkSpec:
    """One network port with its cable."""

    name: str
    title: Annotated[str, "Name for people."]
    bandwidth_bytes_per_s: Annotated[BytesPerSecond, "Line rate, one direction."]
    latency_s: Annotated[Seconds | None, "One hop, port to port."]
    port_w: Annotated[Watts | None, "Switch share and optics of one switch port."]


@dataclass(frozen=True)
class ModelSpec:
    """One transformer's shape. Counts; zero where a part does not exist."""

    name: str
    title: Annotated[str, "Name for people."]
    kind: Annotated[str, "dense or moe."]
    attention: Annotated[str, "mha, gqa or mla."]
    layers: Annotated[int, "Transformer blocks."]
    hidden: Annotated[int, "Width of the residual stream."]
    heads: Annotated[int, "Query heads."]
    kv_heads: Annotated[int, "Key-value heads (mla: equal to heads, the cache is the latent)."]
    head_dim: Annotated[int, "Width of one head; not always hidden / heads."]
    ffn: Annotated[int, "Width of a dense feed-forward block (0: every block is of experts)."]
    gated_mlp: Annotated[bool, "Three matrices (SwiGLU) instead of two."]
    vocab: Annotated[int, "Rows of the embedding."]
    tied_embeddings: Annotated[bool, "Input and output embedding are one matrix."]
    context_tokens: Annotated[int, "Longest context the weights are released for."]
    learned_positions: Annotated[int, "Rows of a learned position embedding; 0 for rotary."] = 0
    experts: Annotated[int, "Routed experts of a MoE block."] = 0
    experts_per_token: Annotated[int, "Routed experts a token visits."] = 0
    expert_ffn: Annotated[int, "Width of one routed expert."] = 0
    shared_experts: Annotated[int, "Experts every token visits."] = 0
    shared_expert_ffn: Annotated[int, "Width of one shared expert."] = 0
    dense_layers: Annotated[int, "Leading blocks of a MoE model that stay dense."] = 0
    q_lora_rank: Annotated[int, "mla: rank of the query projection."] = 0
    kv_lora_rank: Annotated[int, "mla: rank of the shared key-value latent."] = 0
    qk_nope_head_dim: Annotated[int, "mla: head width without rotary part."] = 0
    qk_rope_head_dim: Annotated[int, "mla: rotary head width, shared by all heads."] = 0
    v_head_dim: Annotated[int, "mla: value head width."] = 0
    index_heads: Annotated[int, "sparse attention: heads of the indexer that picks tokens; 0: none."] = 0
    index_head_dim: Annotated[int, "sparse attention: width of an indexer head and of its one key."] = 0
    index_top_tokens: Annotated[int, "sparse attention: tokens that the indexer picks."] = 0
    mtp_layers: Annotated[int, "Extra multi-token-prediction blocks."] = 0
    sliding_window_tokens: Annotated[int, "Window of the windowed blocks; 0: none."] = 0
    full_attention_every: Annotated[int, "Of so many blocks one keeps full attention; 1: all, 0: none."] = 1
    parameters: Annotated[float | None, "Published total, to check the shape against."] = None
    active_parameters: Annotated[float | None, "Published active per token."] = None
    aliases: Annotated[tuple[str, ...], "Other names of the same weights or shape."] = ()

    def __post_init__(self) -> None:
        one_of("kind", self.kind, ("dense", "moe"))
        one_of("attention", self.attention, ("mha", "gqa", "mla"))
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads do not divide into {self.kv_heads} key-value heads")
        if self.kind == "moe" and not 0 < self.experts_per_token <= self.experts:
            raise ValueError(f"a token visits {self.experts_per_token} of {self.experts} experts")


@dataclass(frozen=True)
class EngineSpec:
    """A serving engine's batching rule and its defaults."""

    name: str
    title: Annotated[str, "Name for people."]
    scheduler: Annotated[str, "vllm-v1, vllm-v0, sarathi or static."]
    max_sequences: Annotated[int, "Most sequences in one batch."]
    token_budget: Annotated[int, "Most tokens in one iteration."]
    block_tokens: Annotated[int, "Tokens of one KV block."]
    memory_fraction: Annotated[Fraction, "Share of GPU memory the engine takes."]
    reserved_bytes: Annotated[Bytes, "Of that share: context, graphs, activations; per GPU."]
    watermark_fraction: Annotated[Fraction, "KV blocks kept free at admission."]
    cpu_overhead_s: Annotated[Seconds, "Host time of one iteration."]
    cpu_overhead_per_sequence_s: Annotated[Seconds, "Host time of one sequence of one iteration."]
    overlaps_cpu: Annotated[bool, "Host time hides behind the GPU: the longer of both counts."]

    def __post_init__(self) -> None:
        one_of("scheduler", self.scheduler, ("vllm-v1", "vllm-v0", "sarathi", "static"))


@dataclass(frozen=True, eq=False)
class GridSpec:
    """A grid: its annual mix and how each fuel moves by month and UTC hour.

    The tables are (12, 24), January and 00:00 UTC first: multipliers whose mean over a year's
    hours is 1. Whatever is known by fuel (intensity under any factor set, water, carbon-free
    share) follows from ``mix`` and ``fuel_shapes`` by `month_hour`. The two ready-made shapes are
    for grids whose mix by hour nobody gave; shipped grids leave them blank.
    """

    name: str
    title: Annotated[str, "Name for people."]
    timezone: Annotated[str, "IANA zone."]
    mix: Annotated[Mapping[str, Fraction], "Share of a year's generation by fuel; sums to 1."]
    mix_year: Annotated[int, "Year of the mix."]
    fuel_shapes: Annotated[Mapping[str, Table], "By fuel, multiplier on its mean generation."] = field(
        default_factory=dict
    )
    intensity_shape: Annotated[Table | None, "Multiplier on the annual intensity."] = None
    clean_fraction_shape: Annotated[Table | None, "Multiplier on the annual carbon-free share."] = None
    price_mean_usd_per_kwh: Annotated[UsdPerKwh | None, "Wholesale, time average."] = None
    price_shape: Annotated[Table | None, "Multiplier on the mean price; may be negative."] = None
    price_years: Annotated[str | None, "Years whose prices were fitted."] = None
    marginal_mean_g_per_kwh: Annotated[GramsPerKwh | None, "Marginal intensity, time average."] = None
    marginal_shape: Annotated[Table | None, "Multiplier on the marginal mean."] = None
    t_and_d_loss_fraction: Annotated[Fraction | None, "Lost between plant and meter."] = None

    def __post_init__(self) -> None:
        total = sum(self.mix.values())
        if abs(total - 1.0) > 0.005:
            raise ValueError(f"the mix of {self.name} sums to {total:g}; expected 1")

    def month_hour(self, by_fuel: Mapping[str, float]) -> Table:
        """Return the generation-weighted mean of a number known by fuel, by month and UTC hour.

        Parameters
        ----------
        by_fuel
            Per kWh generated, e.g. a factor set's grams; needs every fuel of the mix.

        Returns
        -------
        (12, 24) float
            In the unit of `by_fuel`; flat for a grid without ``fuel_shapes``.

        Examples
        --------
        >>> sun = np.tile([0.0] * 12 + [2.0] * 12, (12, 1))
        >>> grid = GridSpec("x", "X", "UTC", {"solar": 0.5, "coal": 0.5}, 2023, {"solar": sun})
        >>> grid.month_hour({"solar": 0.0, "coal": 900.0})[0, [0, 12]].tolist()
        [900.0, 300.0]
        """
        unknown = [fuel for fuel in self.mix if fuel not in by_fuel]
        if unknown:
            raise ValueError(f"no number for {', '.join(unknown)} in the mix of {self.name}")
        flat = np.ones(TABLE_SHAPES["grids"])
        amount = {fuel: share * self.fuel_shapes.get(fuel, flat) for fuel, share in self.mix.items()}
        whole = np.sum(list(amount.values()), axis=0)
        return np.asarray(np.sum([by_fuel[fuel] * kwh for fuel, kwh in amount.items()], axis=0) / whole)


@dataclass(frozen=True, eq=False)
class FactorSet:
    """Grams of CO2-equivalent per kWh generated, by fuel."""

    name: str
    title: Annotated[str, "Name for people."]
    kind: Annotated[str, "lifecycle or direct."]
    g_per_kwh: Annotated[Mapping[str, GramsPerKwh], "By fuel; a fuel without a number is absent."]

    def __post_init__(self) -> None:
        one_of("kind", self.kind, ("lifecycle", "direct"))


@dataclass(frozen=True, eq=False)
class WaterSet:
    """Litres consumed at the power plant per kWh generated, by fuel (source water)."""

    name: str
    title: Annotated[str, "Name for people."]
    litres_per_kwh: Annotated[Mapping[str, LitresPerKwh], "By fuel; a fuel without a number is absent."]


@dataclass(frozen=True, eq=False)
class ClimateSpec:
    """Monthly normals from which a synthetic year of weather is made; arrays are (12,)."""

    name: str
    title: Annotated[str, "Name for people."]
    timezone: Annotated[str, "IANA zone."]
    elevation_m: Annotated[Metres, "Above sea level."]
    pressure_pa: Annotated[Pascals, "Mean air pressure at the site."]
    mean_c: Annotated[Table, "Dry bulb, month's mean. [C]"]
    diurnal_range_k: Annotated[Table, "Peak to trough of the mean day's first harmonic. [K]"]
    dew_point_depression_k: Annotated[Table, "Dry bulb less dew point, month's mean. [K]"]
    anomaly_k: Annotated[Table, "Standard deviation of the daily mean around the month's. [K]"]
    anomaly_persistence: Annotated[float, "Correlation of one day's anomaly with the next's."]
    warmest_hour_local: Annotated[float, "Standard-time hour at which the mean day peaks."]
    design_maximum_c: Annotated[Celsius | None, "Dry bulb exceeded in 0.4 % of hours."]


@dataclass(frozen=True, eq=False)
class PlantSpec:
    """A cooling plant: a facility plug-in and its parameters (SI, the plug-in's field names)."""

    name: str
    title: Annotated[str, "Name for people."]
    kind: Annotated[str, "Plug-in of simulator.facility."]
    parameters: Annotated[Mapping[str, float], "By the plug-in's field name, unit in the name."]


@dataclass(frozen=True)
class ChainStage:
    """One conversion. Input = output + fixed + linear x output + quadratic x output^2 / rated.

    ``rated`` is the stage's installed capacity: ``rated_over_peak`` times the site's peak load
    through it. ``fixed_w_per_node`` is for chains published per node (Frontier's).
    """

    stage: Annotated[str, "What it is."]
    fixed_fraction: Annotated[Fraction, "Loss at no load, of the rated power."] = 0.0
    linear_fraction: Annotated[Fraction, "Loss per watt out."] = 0.0
    quadratic_fraction: Annotated[Fraction, "Loss at rated load that grows with the square."] = 0.0
    rated_over_peak: Annotated[float, "Installed over peak load; 2 for 2N."] = 1.0
    fixed_w_per_node: Annotated[Watts, "Loss at no load, per node."] = 0.0
    carries_network: Annotated[bool, "The fabric's switches hang behind this stage."] = True


@dataclass(frozen=True)
class ChainSpec:
    """A power chain from the meter to the nodes' inlets; stages in order from node to meter."""

    name: str
    title: Annotated[str, "Name for people."]
    stages: Annotated[tuple[ChainStage, ...], "From the nodes outwards."]


@dataclass(frozen=True)
class FailureCause:
    """One cause of interruptions."""

    cause: Annotated[str, "Name as published."]
    scope: Annotated[str, "node (a node leaves), job (only the job dies) or link (a leaf switch)."]
    events: Annotated[float, "Count seen in the preset's GPU-hours."]
    repair_s: Annotated[Seconds, "Mean time until the part is back; 0 for job scope."]
    detect_s: Annotated[Seconds, "Until somebody or something notices."]
    recover_s: Annotated[Seconds, "Restart of the job: scheduling, processes, collectives, loading."]
    diagnose_s: Annotated[Seconds, "From noticing to knowing which part it was."] = 0.0
    undetected_s: Annotated[Seconds, "Results were wrong for this long: its checkpoints are worthless."] = 0.0
    planned: Annotated[bool, "Announced maintenance, not a fault."] = False

    def __post_init__(self) -> None:
        one_of("scope", self.scope, ("node", "job", "link"))


@dataclass(frozen=True)
class FailurePreset:
    """Published interruptions of one fleet, by cause."""

    name: str
    title: Annotated[str, "Name for people."]
    gpu_hours: Annotated[float, "Exposure in which the events were counted. [GPU-hours]"]
    gpus_per_node: Annotated[int, "Of the fleet observed."]
    calibration: Annotated[
        str, "What was counted: infrastructure (parts that failed) or observed (jobs that stopped)."
    ]
    causes: Annotated[tuple[FailureCause, ...], "By cause."]

    def __post_init__(self) -> None:
        one_of("calibration", self.calibration, ("infrastructure", "observed"))

    def rate_per_gpu_hour(self, cause: FailureCause) -> float:
        """Return events of ``cause`` per GPU and hour. [1/h]"""
        return cause.events / self.gpu_hours


@dataclass(frozen=True)
class TariffSpec:
    """What the meter costs."""

    name: str
    title: Annotated[str, "Name for people."]
    energy_usd_per_kwh: Annotated[UsdPerKwh | None, "All energy at this; blank: the grid's price."]
    adder_usd_per_kwh: Annotated[UsdPerKwh, "Per kWh on top: delivery, levies, tax."]
    demand_charge_usd_per_kw_month: Annotated[UsdPerKwMonth, "On the month's 15-minute peak."]
    minimum_peak_fraction: Annotated[Fraction, "Ratchet: least share of the contracted limit that is billed."]
    price_year: Annotated[int, "Money of this year."]


@dataclass(frozen=True)
class CostSpec:
    """A cost pack: lives, rate of return, building, people."""

    name: str
    title: Annotated[str, "Name for people."]
    gpu_life_s: Annotated[Seconds, "Depreciation of nodes."]
    network_life_s: Annotated[Seconds, "Depreciation of fabric and storage."]
    building_life_s: Annotated[Seconds, "Depreciation of shell and plant."]
    wacc_fraction: Annotated[Fraction, "Weighted cost of capital, a year."]
    residual_fraction: Annotated[Fraction, "Of a node's price, at the end of its life."]
    network_fraction: Annotated[Fraction, "Fabric and storage, of the nodes' price."]
    building_usd_per_w: Annotated[UsdPerW, "Shell, mechanical, electrical, per IT watt."]
    maintenance_fraction: Annotated[Fraction, "Of the hardware's price, a year."]
    staff_usd_per_kw_month: Annotated[UsdPerKwMonth | None, "People, per IT kW and month."]
    water_usd_per_litre: Annotated[UsdPerLitre | None, "Supply and sewage."]
    building_embodied_gco2e_per_w: Annotated[GramsPerW | None, "Shell and plant, per IT watt."]
    price_year: Annotated[int, "Money of this year."]


@dataclass(frozen=True)
class LengthsSpec:
    """Prompt and answer lengths: a joint lognormal, rounded up, cut at the caps."""

    name: str
    title: Annotated[str, "Name for people."]
    prompt_median_tokens: Annotated[float, "Median prompt."]
    prompt_sigma: Annotated[float, "Standard deviation of its logarithm."]
    output_median_tokens: Annotated[float, "Median answer."]
    output_sigma: Annotated[float, "Standard deviation of its logarithm."]
    correlation: Annotated[float, "Of the two logarithms."]
    prompt_cap_tokens: Annotated[int, "Longest prompt."]
    output_cap_tokens: Annotated[int, "Longest answer."]


@dataclass(frozen=True)
class JobClass:
    """One component of a job mix; sizes may repeat with other run times."""

    gpus: Annotated[int, "GPUs of such a job."]
    share_fraction: Annotated[Fraction, "Of all jobs, by count."]
    run_median_s: Annotated[Seconds, "Median run time."]
    run_sigma: Annotated[float, "Standard deviation of its logarithm."]


@dataclass(frozen=True)
class JobMixSpec:
    """A stream of research jobs: sizes and run times, independent of the load."""

    name: str
    title: Annotated[str, "Name for people."]
    classes: Annotated[tuple[JobClass, ...], "Components; shares sum to 1."]
    run_cap_s: Annotated[Seconds, "Longest run time."]
    requested_over_run_median: Annotated[float, "Median of requested over real run time, >= 1."]
    requested_over_run_sigma: Annotated[float, "Standard deviation of its logarithm."]
    arrival_shape: Annotated[str, "Demand shape of submissions."]


@dataclass(frozen=True, eq=False)
class ShapeSpec:
    """A weekly rhythm of demand."""

    name: str
    title: Annotated[str, "Name for people."]
    multipliers: Annotated[Table, "(168,) by local hour of the week, Monday 00:00 first; mean 1."]


#: Kinds with tables -> their shape: months x UTC hours, months, hours of the week.
TABLE_SHAPES: Final[Mapping[str, tuple[int, ...]]] = {"grids": (12, 24), "climates": (12,), "shapes": (168,)}

#: Fields that name an entry of another kind: (kind, field) -> that kind.
REFERENCES: Final[Mapping[tuple[str, str], str]] = {
    ("nodes", "gpu"): "gpus",
    ("mixes", "arrival_shape"): "shapes",
}

#: Kind (the stem of its YAML file, and its key in a scenario's ``catalog:`` block) -> dataclass.
KINDS: Final[Mapping[str, type]] = {
    "gpus": GpuSpec,
    "nodes": NodeSpec,
    "links": LinkSpec,
    "models": ModelSpec,
    "engines": EngineSpec,
    "grids": GridSpec,
    "factors": FactorSet,
    "water": WaterSet,
    "climates": ClimateSpec,
    "plants": PlantSpec,
    "chains": ChainSpec,
    "failures": FailurePreset,
    "tariffs": TariffSpec,
    "costs": CostSpec,
    "lengths": LengthsSpec,
    "mixes": JobMixSpec,
    "shapes": ShapeSpec,
}
