"""Peaks by name, and blanks that are refused by name."""

from __future__ import annotations

import pytest

from simulator.catalog.shelf import Catalog
from simulator.foundation.errors import CatalogError
from simulator.hardware.roofline import peak_16_bit_flop_per_s, peak_flop_per_s

CATALOG = Catalog.shipped()


def test_a_v100_does_sixteen_bits_without_bf16():
    assert peak_16_bit_flop_per_s(CATALOG.get("gpus", "v100-sxm2-32gb")) == 125e12


def test_a_blank_precision_is_refused_by_name():
    with pytest.raises(CatalogError, match=r"v100-sxm2-32gb has no fp8 .*catalog\.gpus\.v100-sxm2-32gb\.fp8"):
        peak_flop_per_s(CATALOG.get("gpus", "v100-sxm2-32gb"), "fp8")
