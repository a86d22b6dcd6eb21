"""What the entries themselves say: laws between their numbers, and published figures they must give."""

from __future__ import annotations

import math
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from simulator.catalog.entries import CARBON_FREE, ModelSpec
from simulator.catalog.shelf import Catalog
from simulator.facility import PLANTS, PowerChain
from simulator.foundation.plugins import fields_of

CATALOG = Catalog.shipped()
MONTH_HOURS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[:, None] * np.ones((1, 24))


def year_mean(table: np.ndarray) -> float:
    return float((table * MONTH_HOURS).sum() / MONTH_HOURS.sum())


@pytest.mark.parametrize("name", [n for n in CATALOG.names("gpus") if n != "slot"])
def test_arithmetic_is_dense_and_halves_with_width(name: str) -> None:
    """Tensor-core peaks double as the format's width halves; a sparse figure among dense ones breaks that."""
    gpu = CATALOG.gpu(name)
    assert gpu.fp16_flop_per_s is not None
    if gpu.tf32_flop_per_s is not None:
        assert gpu.fp16_flop_per_s == pytest.approx(2 * gpu.tf32_flop_per_s, rel=0.01)
    if gpu.bf16_flop_per_s is not None:
        assert gpu.bf16_flop_per_s == gpu.fp16_flop_per_s
    if gpu.fp8_flop_per_s is not None:
        assert gpu.fp8_flop_per_s == pytest.approx(2 * gpu.fp16_flop_per_s, rel=0.01)
    if gpu.fp4_flop_per_s is not None and gpu.fp8_flop_per_s is not None:
        # Blackwell Ultra has three times its FP8 peak in FP4.
        assert (
            gpu.fp4_flop_per_s / gpu.fp8_flop_per_s == pytest.approx(2, rel=0.01) or "Ultra" in gpu.generation
        )


def test_the_dense_peaks_that_published_mfu_is_counted_with() -> None:
    """MosaicML counts A100 with 312 and H100 with 989 (bf16) and 1979 (fp8) TFLOP/s."""
    assert CATALOG.gpu("a100-sxm-80gb").flop_per_s("bf16") == 312e12
    assert CATALOG.gpu("h100-sxm").flop_per_s("bf16") == pytest.approx(989e12, rel=1e-3)
    assert CATALOG.gpu("h100-sxm").flop_per_s("fp8") == pytest.approx(1979e12, rel=1e-3)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown precision 'int4'; known: fp32"):
        CATALOG.gpu("b200").flop_per_s("int4")


@pytest.mark.parametrize("name", CATALOG.names("gpus"))
def test_watts_are_in_order(name: str) -> None:
    gpu = CATALOG.gpu(name)
    idle, loaded = gpu.idle_w, gpu.loaded_idle_w or gpu.idle_w
    assert idle is not None
    assert loaded is not None
    assert idle <= loaded < gpu.tdp_w
    if gpu.min_cap_w is not None:
        assert loaded <= gpu.min_cap_w <= gpu.tdp_w


@pytest.mark.parametrize("name", CATALOG.names("nodes"))
def test_a_loaded_node_stays_below_its_rating(name: str) -> None:
    node = CATALOG.node(name)
    gpu = CATALOG.gpu(node.gpu)
    assert node.scale_up_domain_gpus % node.gpus_per_node == 0
    assert node.nic_bandwidth_bytes_per_s < gpu.scale_up_bandwidth_bytes_per_s
    assert node.host_idle_w is not None
    assert node.host_active_w is not None
    assert node.host_idle_w <= node.host_active_w
    if node.maximum_power_w is not None:
        assert node.host_active_w + node.gpus_per_node * gpu.tdp_w <= node.maximum_power_w * 1.0001


def test_an_h100_node_draws_what_was_measured() -> None:
    """Latif et al. 2025: an 8-GPU HGX H100 peaks at 8.4 kW, 18 % below its 10.2 kW rating."""
    node = CATALOG.node("hgx-h100-8")
    full_w = node.host_active_w + 8 * CATALOG.gpu(node.gpu).tdp_w
    assert full_w == pytest.approx(8.4e3, rel=0.03)


def test_nvl72_is_one_domain_of_72_at_120_kw() -> None:
    node = CATALOG.node("gb200-nvl72")
    trays = node.scale_up_domain_gpus // node.gpus_per_node
    rack_w = trays * (node.host_active_w + node.gpus_per_node * CATALOG.gpu(node.gpu).tdp_w)
    assert trays == 18
    assert rack_w == pytest.approx(120e3, rel=0.02)


def test_ports_are_bits_per_second_and_per_gpu() -> None:
    """400 Gb/s is 50 GB/s; a DGX-1 shares four 100 Gb/s ports among eight GPUs."""
    assert CATALOG.node("hgx-h100-8").nic_bandwidth_bytes_per_s == 50e9
    assert CATALOG.node("hgx-v100-8").nic_bandwidth_bytes_per_s == 4 * 100e9 / 8 / 8
    assert CATALOG.link("ib-ndr-400").bandwidth_bytes_per_s == 50e9


def count_parameters(m: ModelSpec) -> tuple[float, float]:
    """Count parameters of a shape, total and active, written apart from simulator.llm."""
    if m.attention == "mla":
        query = m.heads * (m.qk_nope_head_dim + m.qk_rope_head_dim)
        queries = m.q_lora_rank * (m.hidden + query) if m.q_lora_rank else m.hidden * query
        latents = m.hidden * (m.kv_lora_rank + m.qk_rope_head_dim)
        unfold = m.kv_lora_rank * m.heads * (m.qk_nope_head_dim + m.v_head_dim)
        attention = queries + latents + unfold + m.heads * m.v_head_dim * m.hidden
    else:
        attention = 2 * m.hidden * m.head_dim * (m.heads + m.kv_heads)
    matrices = 3 if m.gated_mlp else 2
    embeddings = m.vocab * m.hidden * (1 if m.tied_embeddings else 2) + m.learned_positions * m.hidden
    dense_blocks = m.layers if m.kind == "dense" else m.dense_layers
    moe_blocks = m.layers - dense_blocks
    dense = dense_blocks * matrices * m.hidden * m.ffn
    expert = matrices * m.hidden * m.expert_ffn
    shared = m.shared_experts * matrices * m.hidden * m.shared_expert_ffn + m.hidden * m.experts
    total = m.layers * attention + embeddings + dense + moe_blocks * (m.experts * expert + shared)
    active = m.layers * attention + embeddings + dense + moe_blocks * (m.experts_per_token * expert + shared)
    return total, active


@pytest.mark.parametrize("name", CATALOG.names("models"))
def test_a_models_shape_has_its_published_parameters(name: str) -> None:
    model = CATALOG.model(name)
    total, active = count_parameters(model)
    assert model.parameters is not None
    assert total == pytest.approx(model.parameters, rel=0.03 if name == "kimi-k2" else 0.01)
    if model.active_parameters is not None:
        # Releases differ in how many of the two embeddings count as active.
        embedding = model.vocab * model.hidden
        counts = [active - copies * embedding for copies in range(3)]
        assert any(count == pytest.approx(model.active_parameters, rel=0.05) for count in counts), counts


def test_llama_3_interruptions_are_those_of_its_table() -> None:
    """Table 5: 419 unexpected (148 of them GPUs) and 47 planned in 54 days: one in 3.1 hours, unexpected."""
    preset = CATALOG.failure_preset("llama3-2024")
    unexpected = [c for c in preset.causes if not c.planned]
    assert sum(c.events for c in unexpected) == 419
    assert sum(c.events for c in preset.causes if c.planned) == 47
    rate = sum(preset.rate_per_gpu_hour(c) for c in unexpected)
    assert 1 / (rate * 16384) == pytest.approx(3.09, abs=0.01)
    # Training notes: faulty GPU every 143 thousand GPU-hours, network every 607 thousand.
    by_name = {c.cause: 1e-3 / preset.rate_per_gpu_hour(c) for c in preset.causes}
    assert by_name["faulty-gpu"] == pytest.approx(143, abs=1)
    assert by_name["network-switch-or-cable"] == pytest.approx(607, abs=1)


def test_rsc_rate_gives_the_papers_arithmetic() -> None:
    """6.50 per 1,000 node-days is one failure in 28.8 hours at 1,024 GPUs."""
    preset = CATALOG.failure_preset("rsc1-2024")
    rate = sum(preset.rate_per_gpu_hour(c) for c in preset.causes)
    assert 1 / (rate * 1024) == pytest.approx(28.8, abs=0.1)


@pytest.mark.parametrize("name", CATALOG.names("grids"))
def test_a_grid_adds_up(name: str) -> None:
    grid = CATALOG.grid(name)
    assert sum(grid.mix.values()) == pytest.approx(1.0, abs=1e-9)
    for fuel, shape in grid.fuel_shapes.items():
        assert fuel in grid.mix
        assert year_mean(shape) == pytest.approx(1.0, abs=0.005), fuel
    if grid.price_shape is not None:
        assert year_mean(grid.price_shape) == pytest.approx(1.0, abs=0.005)
        assert grid.price_mean_usd_per_kwh is not None


@pytest.mark.parametrize("name", CATALOG.names("grids"))
@pytest.mark.parametrize("factors", CATALOG.names("factors"))
def test_every_grid_can_be_counted_with_every_factor_set(name: str, factors: str) -> None:
    grid = CATALOG.grid(name)
    table = grid.month_hour(CATALOG.factors(factors).g_per_kwh)
    by_hand = sum(share * CATALOG.factors(factors).g_per_kwh[fuel] for fuel, share in grid.mix.items())
    # Weighted by the hour's generation the mean is the mix's; by time it differs by a few percent.
    assert year_mean(table) == pytest.approx(by_hand, rel=0.06)


@pytest.mark.parametrize("name", CATALOG.names("grids"))
@pytest.mark.parametrize("water", CATALOG.names("water"))
def test_every_grid_has_source_water(name: str, water: str) -> None:
    table = CATALOG.grid(name).month_hour(CATALOG.water(water).litres_per_kwh)
    assert table.shape == (12, 24)
    assert (table >= 0).all()


def test_a_factor_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no number for .*coal.* in the mix of PL"):
        CATALOG.grid("PL").month_hour({"gas": 490.0})


@pytest.mark.parametrize("name", CATALOG.names("grids"))
def test_the_sun_stands_highest_at_local_noon(name: str) -> None:
    """The test a shifted time zone or an end-of-hour label fails: standard noon, within an hour."""
    grid = CATALOG.grid(name)
    shape = grid.fuel_shapes["solar"]
    june = shape[5]
    angle = np.angle(np.sum(june * np.exp(2j * np.pi * (np.arange(24) + 0.5) / 24)))
    centre_utc = float(angle / (2 * np.pi) * 24)
    january = datetime(2023, 1, 15, tzinfo=ZoneInfo(grid.timezone))
    offset = january.utcoffset()
    assert offset is not None
    noon = (centre_utc + offset.total_seconds() / 3600) % 24
    # Spain keeps the clock of Berlin, an hour and more east of its sun, and stores heat for the evening.
    assert 11.0 < noon < (13.9 if name == "ES" else 13.5)


def test_californias_sun_makes_noon_clean_and_cheap_and_evening_dear() -> None:
    """The peer data set with a shifted price has the opposite sign (research notes, lesson 8)."""
    grid = CATALOG.grid("US-CAISO")
    intensity = grid.month_hour(CATALOG.factors("direct").g_per_kwh).mean(axis=0)
    assert grid.price_shape is not None
    price = grid.price_shape.mean(axis=0)
    noon, evening = 20, 3  # UTC: 12 and 19 o'clock in winter
    assert intensity[noon] < 0.7 * intensity[evening]
    assert price[noon] < 0.6 * price[evening]
    assert np.corrcoef(intensity, price)[0, 1] > 0.5


def test_grids_stand_in_the_known_order() -> None:
    """Life cycle, annual: Norway and France low, Poland high; Germany within 308 to 403 of other sources."""
    mean = {
        name: year_mean(CATALOG.grid(name).month_hour(CATALOG.factors("ipcc-ar5-lifecycle").g_per_kwh))
        for name in CATALOG.names("grids")
    }
    assert mean["NO"] < mean["FR"] < mean["GB"] < mean["DE"] < mean["PL"]
    assert 308 < mean["DE"] < 403
    assert 41 < mean["FR"] < 70


def test_biomass_is_not_carbon_free() -> None:
    assert "biomass" not in CARBON_FREE
    clean = {fuel: float(fuel in CARBON_FREE) for fuel in CATALOG.grid("SE").mix}
    assert (CATALOG.grid("SE").month_hour(clean) < 1.0).all()


@pytest.mark.parametrize("name", CATALOG.names("climates"))
def test_a_climate_is_one_of_this_planet(name: str) -> None:
    climate = CATALOG.climate(name)
    assert (climate.diurnal_range_k > 0).all()
    assert (climate.dew_point_depression_k > 0).all()
    assert (climate.anomaly_k > 0).all()
    assert 0.4 < climate.anomaly_persistence < 0.9
    assert 13 <= climate.warmest_hour_local <= 17
    assert climate.design_maximum_c is not None
    assert climate.design_maximum_c > climate.mean_c.max()
    standard_pa = 101325 * (1 - 2.25577e-5 * climate.elevation_m) ** 5.25588
    assert climate.pressure_pa == pytest.approx(standard_pa, rel=0.015)
    southern = name == "sydney"
    assert (int(np.argmax(climate.mean_c)) in (0, 1)) == southern


@pytest.mark.parametrize("name", CATALOG.names("plants"))
def test_a_plant_is_made_of_its_plug_ins_fields(name: str) -> None:
    plant = CATALOG.plant(name)
    cls = PLANTS[plant.kind]
    assert set(plant.parameters) <= {field.name for field in fields_of(cls)}
    cls(**plant.parameters)


@pytest.mark.parametrize("name", ["air-chiller", "dry-cooler-adiabatic"])
def test_a_plant_named_like_its_plug_in_is_that_plug_in(name: str) -> None:
    """Else two numbers would stand for one thing, and the report would cite the wrong one."""
    plant = CATALOG.plant(name)
    defaults = {f.name: f.default for f in fields_of(PLANTS[plant.kind]) if f.name != "capacity_w"}
    assert dict(plant.parameters) == defaults


def test_frontiers_chain_gives_its_known_idle_and_peak() -> None:
    """ExaDigiT RAPS: 7.3065 MW idle, 28.2279 MW peak, with 25 CDUs of 8,473.47 W."""
    node = CATALOG.node("frontier-node")
    gpu = CATALOG.gpu(node.gpu)
    nodes, switches_w, cdus_w = 9472, 9472 / 4 * 250.0, 25 * 8473.47
    peak_w = nodes * (node.host_active_w + 4 * gpu.tdp_w)
    chain = PowerChain.from_spec(CATALOG.chain("frontier"), nodes, peak_w, switches_w)
    idle_w = nodes * (node.host_idle_w + 4 * gpu.idle_w)
    assert float(chain.input_w(idle_w, switches_w)) + cdus_w == pytest.approx(7.3065e6, rel=1e-4)
    assert float(chain.input_w(peak_w, switches_w)) + cdus_w == pytest.approx(28.2279e6, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("2n-ups-double-conversion", 0.92, 0.965), ("ups-eco", 0.97, 0.99)]
)
def test_a_ups_is_as_efficient_as_its_sheet(name: str, low: float, high: float) -> None:
    chain = PowerChain.from_spec(CATALOG.chain(name), 1, 1e6)
    for load in (0.5, 1.0):
        assert low < load * 1e6 / float(chain.input_w(load * 1e6)) < high


def lengths_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    spec = CATALOG.lengths(name)
    pairs = np.random.default_rng(5).multivariate_normal(
        [0, 0], [[1, spec.correlation], [spec.correlation, 1]], 400_000
    )
    prompt = np.ceil(spec.prompt_median_tokens * np.exp(spec.prompt_sigma * pairs[:, 0]))
    output = np.ceil(spec.output_median_tokens * np.exp(spec.output_sigma * pairs[:, 1]))
    return np.minimum(prompt, spec.prompt_cap_tokens), np.minimum(output, spec.output_cap_tokens)


@pytest.mark.parametrize(
    ("name", "prompt", "output"),
    [("reasoning-2025", 700, 1400), ("azure-conv-2023", 1154.7, 211.1), ("azure-code-2023", 2047.8, 27.9)],
)
def test_lengths_have_the_means_they_promise(name: str, prompt: float, output: float) -> None:
    """400,000 draws, four standard errors each: one false alarm in 8,000, were the seed not fixed."""
    for found, mean in zip(lengths_of(name), (prompt, output), strict=True):
        assert abs(found.mean() - mean) < 4 * found.std() / math.sqrt(found.size) + 0.005 * mean


@pytest.mark.parametrize(
    ("name", "median_s", "mean_s", "mean_gpus", "gpu_s"),
    [("helios-like", 206, 6651.7, 3.716, 49_351), ("acme-like", 122, 1414.3, 5.68, 32_405)],
)
def test_a_job_mix_has_the_clusters_median_mean_and_gpu_time(
    name: str, median_s: float, mean_s: float, mean_gpus: float, gpu_s: float
) -> None:
    """Acme's published summary: median two minutes, and GPU time far above mean run x mean size."""
    mix = CATALOG.mix(name)
    share = np.array([c.share_fraction for c in mix.classes])
    gpus = np.array([c.gpus for c in mix.classes])
    ranks = np.random.default_rng(9).standard_normal(200_000)
    # The same draws for each size: exact shares, so only the run times are sampled.
    runs = np.array(
        [np.minimum(c.run_median_s * np.exp(c.run_sigma * ranks), mix.run_cap_s) for c in mix.classes]
    )
    weights = np.repeat(share / ranks.size, ranks.size)
    order = np.argsort(runs.ravel())
    median = runs.ravel()[order][np.searchsorted(np.cumsum(weights[order]), 0.5)]
    assert share.sum() == pytest.approx(1.0, abs=1e-9)
    assert share @ gpus == pytest.approx(mean_gpus, rel=0.005)
    assert median == pytest.approx(median_s, rel=0.03)
    assert share @ runs.mean(axis=1) == pytest.approx(mean_s, rel=0.05)
    assert (share * gpus) @ runs.mean(axis=1) == pytest.approx(gpu_s, rel=0.06)


@pytest.mark.parametrize("name", CATALOG.names("shapes"))
def test_a_rhythm_has_mean_one(name: str) -> None:
    week = CATALOG.shape(name).multipliers
    assert week.mean() == pytest.approx(1.0, abs=1e-6)
    assert (week > 0).all()


def test_office_hours_peak_on_weekdays_and_consumers_in_the_evening() -> None:
    office = CATALOG.shape("office-hours").multipliers.reshape(7, 24)
    consumer = CATALOG.shape("consumer").multipliers.reshape(7, 24)
    assert office[:5].mean() > 2 * office[5:].mean()
    assert 9 <= int(office[2].argmax()) <= 15
    assert 19 <= int(consumer[2].argmax()) <= 22


def test_cost_packs_are_in_order() -> None:
    low, central, high = (CATALOG.cost(name) for name in ("low", "central", "high"))
    assert low.gpu_life_s > central.gpu_life_s > high.gpu_life_s
    assert [round(x.gpu_life_s / 31536000, 6) for x in (low, central, high)] == [6, 5, 3]
    assert [x.wacc_fraction for x in (low, central, high)] == [0.06, 0.08, 0.12]
    assert low.building_usd_per_w < central.building_usd_per_w < high.building_usd_per_w


def test_a_tariff_without_energy_price_stands_on_a_grid_with_one() -> None:
    """de-industrial-2024 passes the grid's hours through; a French one could not."""
    assert CATALOG.tariff("de-industrial-2024").energy_usd_per_kwh is None
    assert CATALOG.grid("DE").price_shape is not None
    assert CATALOG.grid("FR").price_shape is None
    assert CATALOG.tariff("fr-industrial-2024").energy_usd_per_kwh is not None
