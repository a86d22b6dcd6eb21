from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.catalog.shelf import Catalog
from simulator.llm.architecture import Architecture
from simulator.performance.power_coefficients import Load, power_coefficients
from simulator.performance.serving import serving_profile

shares = st.floats(0.0, 1.0)
generations = st.sampled_from(("Ampere", "Hopper", "Blackwell", "Blackwell Ultra", "nobody measured it"))


@given(generations, shares, shares, shares, st.floats(0.05, 0.25))
def test_more_work_never_draws_less_and_never_beyond_the_ceiling(name, working, streaming, computing, idle):
    law = power_coefficients(name)
    drawn = law.drawn(idle, Load(working, streaming, computing))
    assert 0.9 * idle < drawn <= law.ceiling
    for more in (
        Load(min(1.0, working + 0.1), streaming, computing),
        Load(working, streaming + 0.1, computing),
        Load(working, streaming, computing + 0.1),
    ):
        assert law.drawn(idle, more) >= drawn


def test_arrays_and_numbers_agree():
    law = power_coefficients("Hopper")
    loads = Load(np.array([0.2, 1.0]), np.array([0.1, 0.9]), np.array([0.0, 0.3]))
    each = [law.drawn(0.2, Load(0.2, 0.1, 0.0)), law.drawn(0.2, Load(1.0, 0.9, 0.3))]
    assert law.drawn(0.2, loads) == pytest.approx(each)


def test_a_gpu_that_waits_for_its_host_draws_less():
    catalog = Catalog.shipped()
    model = Architecture.from_spec(catalog.model("llama-3.1-8b"))

    def watts(host_s, *, hidden=True):
        profile = serving_profile(
            model, catalog.gpu("b200"), tensor_parallel=1, cpu_overhead_s=host_s, overlaps_cpu=hidden
        )
        elapsed_s = profile.iteration.iteration_ps(8, 8, 4000) / 1e12
        return elapsed_s, profile.load(elapsed_s, 8, 8, 4000), profile.decode_power_w(8, 500)

    (fast_s, busy, full_w), (slow_s, waiting, slow_w) = watts(0.0), watts(30e-3)
    # The same work over a longer time; of a small model's, launches and gaps take a good part.
    assert 0.5 < busy.working < 0.9
    assert slow_s > 30e-3 > 4.0 * fast_s
    assert waiting.working == pytest.approx(busy.working * fast_s / slow_s, rel=1e-6)
    assert slow_w < 0.6 * full_w
    _, hidden, _ = watts(1e-3)
    assert hidden == busy
    _, shown, shown_w = watts(30e-3, hidden=False)
    assert shown.working < waiting.working
    assert shown_w < slow_w


def test_a_measured_time_replaces_the_modelled_one():
    catalog = Catalog.shipped()
    model = Architecture.from_spec(catalog.model("llama-3.1-70b"))
    profile = serving_profile(model, catalog.gpu("h100-sxm"), tensor_parallel=4)
    one, two = (profile.load(elapsed_s, 8, 8, 4000) for elapsed_s in (0.05, 0.1))
    assert [a / b for a, b in zip(one, two, strict=True)] == pytest.approx([2.0, 2.0, 2.0])
