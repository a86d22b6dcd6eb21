"""Measuring a device: the tiny form on the processor, and a GPU played by a table."""

from __future__ import annotations

from datetime import date
from subprocess import CompletedProcess

import pytest

from analysis.calibration.device.backends import Device, NumpyBackend, TorchBackend
from analysis.calibration.device.device_profile import alike, compared, write
from analysis.calibration.device.measurements import TINY, Measurements, Row, measure
from analysis.calibration.device.watts import number, query
from simulator.catalog.shelf import Catalog

GPU = Device("NVIDIA H100 80GB HBM3", "GPU", 85.0e9, "bf16", {"torch": "2.8", "cuda": "12.8"})
FOUND = Measurements(
    rows=(
        Row("product", (8192, 4096, 4096), 0.4e-3, 687e12),
        Row("product", (1, 4096, 4096), 12e-6, 2.8e12),
        Row("copy", (1 << 30,), 0.8e-3, 2.7e12),
        Row("attention", (64, 2048), 0.2e-3, 2.6e12),
    ),
    idle_w=71.0,
    load_w=655.0,
    limit_w=700.0,
    lowest_limit_w=200.0,
    driver="570.1",
)


def test_the_tiny_form_measures_the_processor_and_says_so(tmp_path):
    backend = NumpyBackend()
    found = measure(backend, TINY)
    assert backend.device.kind == "CPU"
    assert all(row.seconds > 0.0 and row.rate_per_s > 0.0 for row in found.rows)
    assert {row.kernel for row in found.rows} == {"product", "copy", "attention"}
    assert (found.idle_w, found.load_w, found.limit_w) == (None, None, None)
    name = write(tmp_path, backend.device, found, None, date(2026, 11, 22))
    gpu = Catalog.shipped().with_directory(tmp_path).gpu(name)
    assert "(CPU)" in gpu.title
    assert gpu.memory_bandwidth_bytes_per_s == pytest.approx(found.best("copy"), rel=1e-3)
    assert gpu.fp32_flop_per_s == pytest.approx(found.best("product"), rel=1e-3)


def test_a_known_part_keeps_its_peaks_and_takes_what_was_measured(tmp_path):
    catalog = Catalog.shipped()
    part = alike(GPU, catalog)
    assert part is not None
    assert part.name == "h100-sxm"
    name = write(tmp_path, GPU, FOUND, part, date(2026, 11, 22))
    gpu = catalog.with_directory(tmp_path).gpu(name)
    assert (gpu.idle_w, gpu.tdp_w, gpu.min_cap_w) == (71.0, 700.0, 200.0)
    assert gpu.bf16_flop_per_s == part.bf16_flop_per_s
    assert gpu.memory_bandwidth_bytes_per_s == part.memory_bandwidth_bytes_per_s
    assert "driver 570.1" in (tmp_path / "sources.yaml").read_text()
    assert len((tmp_path / "measurements.csv").read_text().splitlines()) == 1 + len(FOUND.rows)


def test_shares_of_the_data_sheet_stand_beside_the_shipped_coefficients():
    part = Catalog.shipped().gpu("h100-sxm")
    products, copy, attention = compared(FOUND, part)
    assert products[2] == pytest.approx(687e12 / part.bf16_flop_per_s)
    assert copy[2] == pytest.approx(2.7e12 / part.memory_bandwidth_bytes_per_s)
    assert attention[2] == pytest.approx(2.6e12 / part.memory_bandwidth_bytes_per_s)
    assert all(0.0 < row[3] <= 1.0 for row in (products, copy, attention))
    assert all(row[2:] == (None, None) for row in compared(FOUND, None))


def test_a_part_that_is_not_shipped_is_like_none():
    assert alike(Device("NVIDIA T4", "GPU", 16e9, "bf16", {}), Catalog.shipped()) is None


def test_nvidia_smi_is_read_field_by_field():
    def smi(command, **_):
        assert command[0] == "nvidia-smi"
        return CompletedProcess(command, 0, stdout="71.25, 700.00, 200.00, 345, 1980, 570.1\n")

    fields = query(smi)
    assert number(fields, "power.draw") == 71.25
    assert number(fields, "power.limit") == 700.0
    assert fields["driver_version"] == "570.1"
    assert number({"power.draw": "[N/A]"}, "power.draw") is None

    def broken(command, **_):
        raise OSError

    assert query(broken) == {}


def test_without_torch_the_tiny_form_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RuntimeError, match="--tiny"):
        TorchBackend()
