"""Measuring a device: the tiny form on the processor, and a whole sitting with a played GPU."""

from __future__ import annotations

import csv
import json
import signal
import sys
from dataclasses import replace
from datetime import date
from subprocess import CompletedProcess

import pytest
from click.testing import CliRunner

from analysis.calibration.device import clocks, measurements, session, watching
from analysis.calibration.device.backend import CannotRun, Device, DeviceError
from analysis.calibration.device.clocks import ClockLevel, fitted_curve, locked_clocks
from analysis.calibration.device.device_profile import node_names, profile, refuse_foreign, write
from analysis.calibration.device.laws import fitted_products
from analysis.calibration.device.measurements import TINY, Patience, Row, Sizes, measure
from analysis.calibration.device.monitor import NotPermitted, monitor_of, reasons_of
from analysis.calibration.device.nvidia_smi import smi_monitors
from analysis.calibration.device.nvml import nvml_monitors
from analysis.calibration.device.parts import alike
from analysis.calibration.device.processor import NumpyBackend
from analysis.calibration.device.session import measure_gpu
from analysis.calibration.device.shares import compared, lines
from analysis.calibration.device.torch_gpu import TorchBackend, generation, import_torch
from analysis.calibration.device.watching import Window
from simulator.catalog.shelf import Catalog
from simulator.cli.commands import datahall
from simulator.hardware.power_curve import ClockCurve
from tests.unit.analysis.fake_gpu import CURVE, TIME, FakeGpu, NVMLError, fake_nvml, fake_torch

ON = date(2026, 11, 22)
SIZES = Sizes(
    products=tuple((rows, 4096, columns) for rows in (1, 64, 512, 4096) for columns in (4096, 28672)),
    copies_bytes=(64 << 20, 256 << 20),
    attention=((8, 2048), (64, 8192)),
    span_s=0.001,
    settle_s=0.02,
    watch_s=0.1,
)
#: For what is not about numbers.
FEW = replace(
    SIZES,
    products=tuple((rows, 4096, 4096) for rows in (1, 64, 512, 2048)),
    copies_bytes=(64 << 20,),
    settle_s=0.01,
    watch_s=0.05,
)


@pytest.fixture(autouse=True, scope="module")
def played_time():
    """Let whoever watches a device live in the played devices' time."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (clocks, measurements, watching):
            patch.setattr(module, "time", TIME)
        patch.setattr(watching, "threading", TIME.threading)
        yield


@pytest.fixture
def machine(monkeypatch):
    """Return a function that puts GPUs into this machine."""

    def with_gpus(*gpus, torch_sees=None, torch=None, nvml=None):
        sees = list(gpus) if torch_sees is None else torch_sees
        monkeypatch.setitem(sys.modules, "torch", torch or fake_torch(sees))
        monkeypatch.setitem(sys.modules, "pynvml", nvml or fake_nvml(list(gpus)))
        monkeypatch.setattr(session, "smi_monitors", dict)
        return gpus[0]

    return with_gpus


def sit(*, clocks=False, index=0, sizes=FEW, patience_s=600.0):
    return measure_gpu(index, clocks=clocks, patience=Patience(patience_s), sizes=sizes)


def made_of(sitting, catalog, like="found"):
    part = alike(sitting.device, catalog) if like == "found" else like
    return profile(sitting.device, sitting.found, part, ON)


# ---------------------------------------------------------------- the processor


def test_the_tiny_form_measures_the_processor_and_says_so(tmp_path):
    backend = NumpyBackend()
    found = measure(backend, TINY)
    assert backend.device.kind == "CPU"
    assert all(row.seconds > 0.0 and row.rate_per_s > 0.0 for row in found.rows)
    assert {row.kernel for row in found.rows} == {"product", "copy", "attention"}
    assert (found.loads.idle, found.facts) == (None, None)
    catalog = Catalog.shipped()
    made = profile(backend.device, found, None, ON)
    write(tmp_path, made, catalog)
    gpu = catalog.with_directory(tmp_path).gpu(made.name)
    assert "(CPU)" in gpu.title
    best = max(found.best("copy"), found.best("attention"))
    assert gpu.memory_bandwidth_bytes_per_s == pytest.approx(best, rel=1e-3)
    assert gpu.fp32_flop_per_s == pytest.approx(found.best("product"), rel=1e-3)
    assert gpu.reached_16_bit_fraction is None


def test_the_command_writes_the_tiny_profile_and_a_second_time_over_it(tmp_path):
    out = tmp_path / "deep" / "profile"
    for _ in range(2):
        told = CliRunner().invoke(datahall, ["calibrate", "--tiny", "-o", str(out)])
        assert told.exit_code == 0, told.output
        assert "clocks: not measured" in told.stdout
    assert {file.name for file in out.iterdir()} == {
        "gpus.yaml", "sources.yaml", "device.json", "measurements.csv", "watts.csv",
    }  # fmt: skip


# ---------------------------------------------------------------- a whole sitting


@pytest.fixture(scope="module")
def whole(played_time):
    """Return a played H100 and a sitting with everything."""
    gpu = FakeGpu()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", fake_torch([gpu]))
        patch.setitem(sys.modules, "pynvml", fake_nvml([gpu]))
        return gpu, sit(clocks=True, sizes=SIZES)


def test_a_sitting_finds_what_the_played_gpu_does(whole, tmp_path):
    gpu, sitting = whole
    found, catalog = sitting.found, Catalog.shipped()
    assert found.loads.idle.power_w == pytest.approx(gpu.idle_w, rel=0.02)
    assert found.loads.products.power_w == pytest.approx(gpu.busy_w, rel=1e-3)
    assert found.loads.products.reasons == ("power cap",)
    assert found.loads.products.clock_hz == 1980e6
    assert sitting.device.versions == {"torch": "2.8.0", "cuda": "12.8", "cudnn": "91002"}
    made = made_of(sitting, catalog)
    assert made.like.name == "h100-sxm"
    # The played device is a launch and a roofline without corner: the law finds its numbers.
    wide = made.fits["bf16"]
    assert wide.peak == pytest.approx(gpu.peak_flop_per_s / made.peaks["bf16"], rel=0.1)
    assert wide.bandwidth == pytest.approx(gpu.bytes_per_s / made.bandwidth, rel=0.1)
    assert made.cache_fraction == pytest.approx(gpu.bytes_per_s / made.bandwidth, rel=0.05)
    assert made.fits["fp8"].peak == pytest.approx(2.0 * gpu.peak_flop_per_s / made.peaks["fp8"], rel=0.15)
    # cuDNN's kernel does not run on it: noted, once for all shapes.
    assert [note for note in found.notes if "cudnn" in note] == [
        "attention cudnn: No available kernel. Aborting execution. (8x2048, 64x8192)"
    ]
    write(tmp_path, made, catalog)
    laid = catalog.with_directory(tmp_path).gpu(made.name)
    assert laid.idle_w == pytest.approx(found.loads.idle.power_w, rel=1e-3)
    assert laid.sustained_products_w == pytest.approx(found.loads.products.power_w, rel=1e-3)
    assert (laid.tdp_w, laid.min_cap_w) == (700.0, 200.0)
    assert laid.bf16_flop_per_s == made.like.bf16_flop_per_s
    assert laid.reached_16_bit_fraction == pytest.approx(wide.peak, rel=1e-3)
    facts = json.loads((tmp_path / "device.json").read_text())
    assert facts["driver"]["driver"] == "570.124.06"
    assert facts["device"]["uuid"] == gpu.uuid
    assert facts["like"] == "h100-sxm"
    with (tmp_path / "watts.csv").open() as file:
        loads = [row["load"] for row in csv.DictReader(file)]
    assert loads == ["idle", "loaded_idle", "products", "copy", "attention", *["products", "copy"] * 6]


def test_where_clocks_may_be_locked_their_effect_is_found_and_they_are_given_back(whole, tmp_path):
    gpu, sitting = whole
    effect = sitting.found.clocks
    assert effect.said == "locked at 6 levels and given back"
    assert gpu.locks[-1] is None
    assert gpu.locks[:-1] == sorted(gpu.locks[:-1], reverse=True)
    assert gpu.locked_mhz is None
    for share in (0.4, 0.6, 0.8):
        assert effect.curve.dynamic_fraction(share) == pytest.approx(CURVE.dynamic_fraction(share), abs=0.05)
    assert effect.curve.memory_sensitivity == pytest.approx(CURVE.memory_sensitivity, abs=0.1)
    catalog = Catalog.shipped()
    write(tmp_path, made_of(sitting, catalog), catalog)
    laid = catalog.with_directory(tmp_path).gpu("measured-nvidia-h100-80gb-hbm3")
    assert laid.clock_voltage_slope == pytest.approx(effect.curve.voltage_slope)
    with (tmp_path / "watts.csv").open() as file:
        locked = [row for row in csv.DictReader(file) if row["locked_mhz"]]
    assert len(locked) == 12


def test_where_clocks_may_not_be_locked_the_profile_says_so(machine):
    gpu = machine(FakeGpu(may_lock=False))
    effect = sit(clocks=True).found.clocks
    assert effect.said == "not locked: the driver says 'Insufficient Permissions'"
    assert effect.curve is None
    assert [level.asked_hz for level in effect.levels] == [None]
    assert gpu.locks == []


def test_clocks_that_somebody_else_locked_are_left_alone(machine):
    nvml = fake_nvml([gpu := FakeGpu(locked_mhz=900)])
    nvml.nvmlDeviceGetCurrentClocksThrottleReasons = lambda _: 0
    machine(gpu, nvml=nvml)
    assert "somebody else has locked them" in sit(clocks=True).found.clocks.said
    assert gpu.locked_mhz == 900


def test_an_error_in_the_middle_gives_the_clocks_back_and_writes_nothing(machine, tmp_path, monkeypatch):
    gpu = machine(FakeGpu(fails_at_lock=3))
    monkeypatch.setattr(session, "FULL", FEW)
    told = CliRunner().invoke(datahall, ["calibrate", "--clocks", "-o", str(tmp_path / "out")])
    assert told.exit_code == 2
    assert told.stderr.splitlines()[-1].startswith("the GPU failed: CUDA error: an illegal memory access")
    assert gpu.locks[-1] is None
    assert gpu.locked_mhz is None
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, ValueError])
def test_a_block_that_ends_early_gives_the_clocks_back(end):
    gpu = FakeGpu(unlock_fails=2)
    monitor = nvml_monitors(fake_nvml([gpu]))[gpu.uuid]

    def block():
        with locked_clocks(monitor) as lock:
            lock.hold(990e6)
            assert gpu.locked_mhz == 990
            raise end

    with pytest.raises(end):
        block()
    assert gpu.locked_mhz is None


def test_being_told_to_end_gives_the_clocks_back():
    gpu = FakeGpu()
    monitor = nvml_monitors(fake_nvml([gpu]))[gpu.uuid]
    before = signal.getsignal(signal.SIGTERM)

    def block():
        with locked_clocks(monitor) as lock:
            lock.hold(990e6)
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        block()
    assert gpu.locked_mhz is None
    assert signal.getsignal(signal.SIGTERM) is before


def test_clocks_that_cannot_be_given_back_are_told_with_the_command():
    gpu = FakeGpu(unlock_fails=9)
    monitor = nvml_monitors(fake_nvml([gpu]))[gpu.uuid]
    command = f"nvidia-smi --id=GPU-{gpu.uuid} --reset-gpu-clocks"
    with pytest.raises(DeviceError, match=command), locked_clocks(monitor) as lock:
        lock.hold(990e6)


def test_a_gpu_without_an_energy_counter_is_watched_by_its_power_reading(machine):
    gpu = machine(FakeGpu(tells_energy=False))
    found = sit().found
    products = found.loads.products
    assert found.clocks.said == "not locked: nobody asked for it (--clocks)"
    assert gpu.locks == []
    assert products.power_w == products.looks_w
    assert products.power_w == pytest.approx(gpu.busy_w, rel=1e-3)


def test_a_gpu_that_tells_no_watts_is_timed_all_the_same(machine, tmp_path):
    machine(FakeGpu(tells_power=False, tells_energy=False))
    sitting = sit(clocks=True)
    assert sitting.found.loads.idle is None
    assert sitting.found.clocks.curve is None
    assert "no curve" in sitting.found.clocks.said
    catalog = Catalog.shipped()
    write(tmp_path, made_of(sitting, catalog), catalog)
    laid = catalog.with_directory(tmp_path).gpu("measured-nvidia-h100-80gb-hbm3")
    assert laid.idle_w == catalog.gpu("h100-sxm").idle_w
    assert laid.reached_16_bit_fraction is not None


def test_without_a_driver_that_answers_there_are_times_and_no_watts(machine):
    gpu = FakeGpu()
    machine(gpu, nvml=fake_nvml([gpu], driver_loaded=False))
    found = sit().found
    assert found.notes[0] == "no watts and no clocks: neither NVML nor nvidia-smi answers"
    assert found.rows


def test_a_mig_instance_is_no_h100_and_takes_no_watts_of_the_whole(machine, tmp_path):
    gpu = machine(
        FakeGpu(
            name="NVIDIA H100 80GB HBM3 MIG 1g.10gb",
            mig=True,
            memory_bytes=10 << 30,
            peak_flop_per_s=80e12,
            bytes_per_s=0.3e12,
        )
    )
    sitting = sit(clocks=True)
    assert sitting.device.slice_of == f"whole-of-{gpu.uuid}"
    assert sitting.found.clocks.said == "not locked: other MIG instances share the GPU's clocks"
    assert gpu.locks == []
    assert any("a MIG instance" in note for note in sitting.found.notes)
    catalog = Catalog.shipped()
    made = made_of(sitting, catalog)
    assert made.like is None
    write(tmp_path, made, catalog)
    laid = catalog.with_directory(tmp_path).gpu(made.name)
    assert laid.generation == "Hopper"
    assert laid.bf16_flop_per_s == pytest.approx(gpu.peak_flop_per_s, rel=0.1)
    assert laid.sustained_products_w is None


def test_of_several_gpus_the_driver_and_torch_mean_the_same_one(machine):
    first = FakeGpu(
        name="NVIDIA A100-SXM4-40GB", uuid="aa-1", capability=(8, 0), memory_bytes=40 << 30, idle_w=50.0
    )
    second = FakeGpu(idle_w=90.0)
    # CUDA_VISIBLE_DEVICES turned the order round: torch's first is NVML's second.
    machine(first, second, torch_sees=[second, first])
    sitting = sit()
    assert sitting.device.uuid == second.uuid
    assert sitting.found.loads.idle.power_w == pytest.approx(90.0, rel=0.02)
    other = sit(index=1)
    assert other.device.name == "NVIDIA A100-SXM4-40GB"
    assert other.found.loads.idle.power_w == pytest.approx(50.0, rel=0.02)
    assert {row.how for row in other.found.of("product")} == {"bf16", "fp16"}
    with pytest.raises(DeviceError, match=r"no GPU 2: torch sees 2, counted from 0"):
        sit(index=2)


def test_a_torch_that_tells_no_uuid_is_matched_by_address():
    gpus = [FakeGpu(uuid="aa-1"), FakeGpu(uuid="bb-2")]
    seen = nvml_monitors(fake_nvml(gpus))
    backend = TorchBackend(fake_torch(gpus, uuids=False), 1)
    assert backend.device.uuid == ""
    assert monitor_of(seen, "", backend.bus)[0].facts.uuid == "bb-2"
    assert monitor_of(seen, "", "") == (None, False)
    assert monitor_of(seen, "cc-3", backend.bus) == (None, False)


def test_what_does_not_fit_is_left_out_and_named(machine):
    machine(FakeGpu(memory_bytes=1 << 30))
    found = sit().found
    assert any(note.startswith("attention flash: no room (64x8192") for note in found.notes)
    assert max(row.shape for row in found.of("attention")) == (8, 2048)


def test_old_torch_and_old_gpus_are_measured_in_what_they_know(machine):
    gpu = FakeGpu()
    machine(gpu, torch=fake_torch([gpu], old=True))
    assert {row.how for row in sit().found.rows} == {"bf16", "fp16", "fp8", "default"}
    volta = FakeGpu(name="Tesla V100-SXM2-32GB", capability=(7, 0), memory_bytes=34_079_637_504)
    machine(volta)
    sitting = sit()
    assert sitting.device.precision == "fp16"
    assert {row.how for row in sitting.found.of("product")} == {"fp16"}
    assert alike(sitting.device, Catalog.shipped()).name == "v100-sxm2-32gb"


def test_fp8_widths_that_cublas_does_not_take_are_refused_by_name():
    backend = TorchBackend(fake_torch([FakeGpu()]), 0)
    with pytest.raises(CannotRun, match="multiples of 16"):
        backend.product((8, 4096, 100), "fp8")


def test_a_gpu_that_others_use_has_no_idle_watts(machine, tmp_path):
    machine(FakeGpu(others=2))
    sitting = sit()
    assert any(note.startswith("2 other processes computed on this GPU") for note in sitting.found.notes)
    catalog = Catalog.shipped()
    write(tmp_path, made_of(sitting, catalog), catalog)
    laid = catalog.with_directory(tmp_path).gpu("measured-nvidia-h100-80gb-hbm3")
    assert laid.idle_w == catalog.gpu("h100-sxm").idle_w


def test_a_power_limit_below_the_default_is_said_and_not_taken_for_the_design_power(machine):
    machine(FakeGpu(limit_w=500.0))
    sitting = sit()
    assert "measured under a power limit of 500 of 700 W" in sitting.found.notes
    assert sitting.found.facts.default_limit_w == 700.0


def test_when_patience_is_spent_what_is_there_is_kept(machine):
    machine(FakeGpu())
    found = sit(patience_s=-1.0, clocks=True).found
    assert found.rows == ()
    assert "17 of 17 kernels not timed: patience was spent" in found.notes
    assert found.clocks.said == "not measured: patience was spent"


def test_the_profile_changes_what_a_scenario_says(whole, tmp_path):
    import simulator
    from simulator.scenario import load

    catalog = Catalog.shipped()
    made = made_of(whole[1], catalog)
    write(tmp_path / "profile", made, catalog)
    node = next(name for name, shipped in node_names(made, catalog) if shipped == "hgx-h100-8")
    runs = {}
    for word, pool in (("sheet", "hgx-h100-8"), ("measured", node)):
        said = SERVICE.replace("NODE", pool)
        (tmp_path / f"{word}.yaml").write_text(said)
        scenario = load(tmp_path / f"{word}.yaml", [], [tmp_path / "profile"])
        runs[word] = simulator.run(scenario, out=tmp_path / word).summary
    sheet, measured = runs["sheet"], runs["measured"]
    # 2.6 of 3.35 TB/s where Hopper's coefficients say 85 %: decoding is slower here.
    assert measured["service.chat.tpot_p50_s"] > 1.03 * sheet["service.chat.tpot_p50_s"]
    assert measured["it_energy_mwh"] != sheet["it_energy_mwh"]


SERVICE = """
title: A service on a measured part
start: 2024-03-04 00:00 UTC
duration: 20 min
sites:
  - name: here
    grid: DE
    climate: frankfurt-typical
    cooling: {plant: constant-pue, pue: 1.2}
    pools: [{name: h100, node: NODE, nodes: 1}]
workloads:
  - name: chat
    kind: service
    model: llama-3.1-8b
    replicas: 1
    demand: {requests: 20_000 per day}
    lengths: azure-conv-2023
"""


# ---------------------------------------------------------------- parts of it


@pytest.mark.parametrize(
    ("name", "gigabytes", "part"),
    [
        ("NVIDIA H100 80GB HBM3", 85.0, "h100-sxm"),
        ("NVIDIA H200", 150.8, "h200-sxm"),
        ("NVIDIA A100-SXM4-40GB", 42.4, "a100-sxm-40gb"),
        ("NVIDIA A100-SXM4-80GB", 85.1, "a100-sxm-80gb"),
        ("NVIDIA A100 80GB PCIe", 85.1, "a100-pcie-80gb"),
        ("NVIDIA L40S", 47.7, "l40s"),
        ("NVIDIA GeForce RTX 4090", 25.3, "rtx-4090"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 102.0, "rtx-pro-6000"),
        ("NVIDIA B200", 191.5, "b200"),
        ("NVIDIA GB200", 197.9, "gb200"),
        ("NVIDIA H100 PCIe", 85.0, None),
        ("NVIDIA H100 NVL", 100.0, None),
        ("NVIDIA H200 NVL", 150.8, None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 17.2, None),
        ("NVIDIA L4", 24.0, None),
        ("NVIDIA H20", 102.6, None),
        ("Tesla T4", 15.8, None),
    ],
)
def test_a_part_is_known_by_name_form_and_memory(name, gigabytes, part):
    found = alike(Device(name, "GPU", gigabytes * 1e9, "bf16", {}), Catalog.shipped())
    assert (None if found is None else found.name) == part


def test_generations_follow_compute_capability():
    said = [generation(one) for one in ((7, 0), (7, 5), (8, 6), (8, 9), (9, 0), (10, 3), (12, 0), (6, 1))]
    assert said == ["Volta", "Turing", "Ampere", "Ada", "Hopper", "Blackwell", "Blackwell RTX", ""]


def test_the_product_law_is_found_again():
    launch_s, bandwidth, peak, corner = 4e-6, 0.8, 0.7, 2.6
    rows = []
    for tokens in (1, 16, 128, 512, 4096):
        for columns in (4096, 28672):
            read = (2.0 * 4096 * columns + 2.0 * tokens * (4096 + columns)) / (bandwidth * 3e12)
            work = 2.0 * tokens * 4096 * columns / (peak * 1e15)
            span_s = launch_s + (read**corner + work**corner) ** (1 / corner)
            rows.append(Row("product", "bf16", (tokens, 4096, columns), span_s, 0.0))
    fit = fitted_products(rows, 1e15, 3e12, 2.0, corner)
    assert (fit.launch_s, fit.bandwidth, fit.peak) == pytest.approx((launch_s, bandwidth, peak), rel=1e-3)
    assert fit.error < 1e-4
    assert fitted_products(rows[:3], 1e15, 3e12, 2.0, corner) is None


def window(clock_hz, power_w, calls_per_s=1.0):
    return Window(power_w, power_w, power_w, clock_hz, 50.0, (), 0.1, True, calls_per_s)


def test_a_curve_goes_by_the_clocks_that_were_seen():
    curve = ClockCurve(voltage_slope=0.4, lowest_voltage_fraction=0.75, memory_sensitivity=0.3)
    levels = []
    # The first two are at the power cap and run at 1500 MHz whatever is asked.
    for asked, ran in ((None, 1500e6), (1980e6, 1500e6), (1200e6, 1200e6), (900e6, 900e6), (600e6, 600e6)):
        share = ran / 1500e6
        levels.append(
            ClockLevel(
                asked,
                window(ran, curve.power_w(700.0, 80.0, share)),
                window(ran, 300.0, 1.0 / curve.memory_stretch(share)),
            )
        )
    found, why_not = fitted_curve(levels, 80.0)
    assert why_not == ""
    assert found.voltage_slope == pytest.approx(0.4, abs=0.011)
    assert found.lowest_voltage_fraction == pytest.approx(0.75, abs=0.011)
    assert found.memory_sensitivity == pytest.approx(0.3, abs=0.01)
    assert fitted_curve(levels[:3], 80.0)[0] is None
    assert fitted_curve(levels, None)[0] is None


def test_shares_of_the_data_sheet_stand_beside_the_shipped_coefficients(whole):
    made = made_of(whole[1], Catalog.shipped())
    rows = {row.what: row for row in compared(made)}
    assert rows["products bf16, best shape"].of_sheet < 1.0
    assert rows["products bf16, law's peak"].ratio == pytest.approx(made.fits["bf16"].peak / 0.82)
    assert rows["decode attention"].ratio == pytest.approx(made.cache_fraction / 0.91)
    assert rows["watts idle"].shipped == 72.0
    assert rows["watts of products"].ratio == pytest.approx(640 / (0.92 * 700), rel=1e-3)
    assert rows["power above idle at 50%"].shipped > 0.0
    text = list(lines(made))
    assert max(map(len, text)) <= 100
    unknown = profile(made.device, made.found, None, ON)
    assert all(row.of_sheet is None for row in compared(unknown))
    assert all(
        row.shipped is None for row in compared(unknown) if "clock" not in row.what and row.unit == "W"
    )


def test_a_folder_with_other_peoples_entries_is_not_written_over(tmp_path):
    (tmp_path / "gpus.yaml").write_text("my-gpu:\n  like: h100-sxm\n")
    with pytest.raises(DeviceError, match=r"gpus\.yaml was not written by datahall calibrate"):
        refuse_foreign(tmp_path)
    told = CliRunner().invoke(datahall, ["calibrate", "--tiny", "-o", str(tmp_path)])
    assert told.exit_code == 2
    assert (tmp_path / "gpus.yaml").read_text() == "my-gpu:\n  like: h100-sxm\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tiny", "--clocks"], "--clocks is about a GPU"),
        (["--tiny", "--gpu", "1"], "--gpu is about a GPU"),
        (["--gpu", "-1"], "-1 is not in the range"),
        (["--patience", "0"], "0.0 is not in the range"),
        (["--patience", "nan"], "expected minutes"),
        (["--tiny", "--like", "h1000"], "h100-sxm"),
        (["--tiny", "-o", "{file}"], "is a file; -o takes a folder"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments, said, tmp_path):
    (tmp_path / "file").write_text("")
    here = [word.replace("{file}", str(tmp_path / "file")) for word in arguments]
    if "-o" not in here:
        here += ["-o", str(tmp_path / "out")]
    told = CliRunner().invoke(datahall, ["calibrate", *here])
    assert told.exit_code == 2, told.output
    assert said in told.stderr
    assert not (tmp_path / "out").exists()


def test_without_torch_or_without_a_gpu_the_tiny_form_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DeviceError, match=r"torch is not installed.*--tiny"):
        import_torch()
    torch = fake_torch([])
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(DeviceError, match=r"torch sees no GPU .CUDA_VISIBLE_DEVICES='7'.; .*--tiny"):
        import_torch()
    torch.version.hip = "6.2"
    with pytest.raises(DeviceError, match="AMD"):
        import_torch()


def test_reasons_are_words():
    assert reasons_of(0x1) == ()
    assert reasons_of(0x44) == ("power cap", "hardware thermal slowdown")


# ---------------------------------------------------------------- nvidia-smi


class Smi:
    """nvidia-smi, played: two GPUs, the second cut by MIG; an old driver's field names."""

    def __init__(self, permitted=True):
        self.permitted, self.commands = permitted, []

    def __call__(self, command, **_):
        self.commands.append(command)
        assert command[0] == "nvidia-smi"
        asked = " ".join(command)
        if "clocks_event_reasons" in asked:
            return self.failed(command, 2)
        if "--query-gpu=uuid" in asked:
            row = "{}, NVIDIA H100 80GB HBM3, 00000000:1{}:00.0, 535.1, 700.00, 700.00, 200.00, 1980, Enabled"
            row += ", {}\n"
            text = row.format("GPU-aa", 8, "Disabled") + row.format("GPU-bb", 9, "Enabled")
        elif "--query-gpu=power.draw" in asked:
            text = (
                "[N/A], 345, 31, 0x0000000000000001\n"
                if "GPU-bb" in asked
                else "71.25, 1980, 31, 0x0000000000000004\n"
            )
        elif "--query-gpu=clocks_throttle" in asked:
            text = "0x0000000000000001\n"
        elif "--query-supported-clocks" in asked:
            text = "2619, 1980\n2619, 990\n1593, 210\n"
        elif "--query-compute-apps" in asked:
            text = "4711\n"
        elif "-L" in command:
            text = "GPU 0: H100 (UUID: GPU-aa)\nGPU 1: H100 (UUID: GPU-bb)\n"
            text += "  MIG 1g.10gb Device 0: (UUID: MIG-cc-dd)\n"
        else:
            if not self.permitted:
                said = (
                    "The current user does not have permission to change clocks for GPU 00000000:18:00.0.\n"
                )
                return CompletedProcess(command, 4, stdout=said, stderr="")
            text = "All done.\n"
        return CompletedProcess(command, 0, stdout=text, stderr="")

    def failed(self, command, code):
        from subprocess import CalledProcessError

        raise CalledProcessError(code, command)


def test_nvidia_smi_tells_what_nvml_would():
    smi = Smi()
    seen = smi_monitors(smi)
    assert list(seen) == ["aa", "bb"]
    facts = seen["aa"].facts
    assert (facts.limit_w, facts.lowest_limit_w, facts.highest_clock_hz) == (700.0, 200.0, 1980e6)
    assert facts.clocks_hz == (990e6, 1980e6)
    assert (facts.processes, facts.persistence, facts.mig) == (1, True, False)
    assert seen["bb"].facts.mig_uuids == ("cc-dd",)
    reading = seen["aa"].read()
    assert (reading.power_w, reading.clock_hz, reading.reasons) == (71.25, 1980e6, ("power cap",))
    assert seen["bb"].read().power_w is None
    assert seen["aa"].energy_j() is None
    assert monitor_of(seen, "cc-dd", "") == (seen["bb"], True)
    seen["aa"].lock(990e6)
    seen["aa"].unlock()
    assert smi.commands[-2:] == [
        ["nvidia-smi", "--id", "GPU-aa", "--lock-gpu-clocks=990,990"],
        ["nvidia-smi", "--id", "GPU-aa", "--reset-gpu-clocks"],
    ]
    with pytest.raises(NotPermitted, match="does not have permission"):
        smi_monitors(Smi(permitted=False))["aa"].lock(990e6)


def test_a_broken_nvidia_smi_is_no_gpu():
    def broken(command, **_):
        raise OSError

    assert smi_monitors(broken) == {}


def test_a_gpu_that_is_lost_does_not_hide_the_others():
    nvml = fake_nvml([FakeGpu(uuid="aa"), FakeGpu(uuid="bb")])
    whole = nvml.nvmlDeviceGetUUID

    def lost(gpu):
        if gpu.uuid == "aa":
            raise NVMLError(15)
        return whole(gpu)

    nvml.nvmlDeviceGetUUID = lost
    assert list(nvml_monitors(nvml)) == ["bb"]
