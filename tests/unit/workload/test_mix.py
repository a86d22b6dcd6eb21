"""The synthetic job stream: its jobs, its estimates, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from simulator.catalog.entries import JobClass, JobMixSpec
from simulator.foundation.calendar import Calendar
from simulator.foundation.errors import CatalogError
from simulator.foundation.streams import Streams
from simulator.foundation.units import DAY_S
from simulator.workload.mix import JobMix, up_to

MONDAY = Calendar.from_text("2024-03-04 00:00 Europe/Berlin")
SPEC = JobMixSpec(
    name="lab",
    title="Lab",
    classes=(JobClass(1, 0.7, 206.0, 2.0), JobClass(8, 0.25, 1000.0, 1.5), JobClass(64, 0.05, 5000.0, 1.0)),
    run_cap_s=2e5,
    requested_over_run_median=1.5,
    requested_over_run_sigma=0.5,
    arrival_shape="flat",
)


def jobs(seed=1, load_gpus=90.0, end_s=10 * DAY_S, **more):
    return JobMix(SPEC).jobs("r", load_gpus, MONDAY, end_s, Streams(seed), **more)


def test_jobs_are_named_and_numbered_in_order_of_submission():
    table = jobs()
    assert table.job_id[:3] == ("r-0", "r-1", "r-2")
    assert (np.diff(table.submitted_s) >= 0).all()
    assert table.submitted_s[-1] <= 10 * DAY_S
    assert table.spec(0).kind == "research"


def test_run_times_stay_under_the_cap_and_requests_over_the_run_time():
    table = jobs()
    assert (table.work > 0).all()
    assert table.work.max() <= SPEC.run_cap_s
    assert (table.requested_run_s >= table.work).all()


def test_sizes_are_those_of_the_classes():
    assert set(jobs().gpus.tolist()) == {1, 8, 64}
    assert JobMix(SPEC).largest_gpus == 64


def test_tenants_are_the_stream_itself_unless_given():
    assert jobs().tenant.names == ("r",)
    assert set(jobs(tenants={"vision": 0.4, "speech": 0.6}).tenant.texts()) == {"vision", "speech"}


def test_a_longer_run_begins_with_the_same_jobs():
    short, long = jobs(end_s=2 * DAY_S), jobs(end_s=10 * DAY_S)
    assert list(long)[: len(short)] == list(short)


def test_more_load_brings_the_same_jobs_sooner():
    some, twice = jobs(load_gpus=45.0), jobs(load_gpus=90.0)
    assert np.array_equal(some.work, twice.work[: len(some)])
    assert np.allclose(some.submitted_s, 2 * twice.submitted_s[: len(some)], atol=1e-5)


def test_two_streams_do_not_share_their_luck():
    mix = JobMix(SPEC)
    one = mix.jobs("a", 90.0, MONDAY, DAY_S, Streams(1))
    other = mix.jobs("b", 90.0, MONDAY, DAY_S, Streams(1))
    assert one.submitted_s[0] != other.submitted_s[0]


def test_the_capped_mean_agrees_with_a_sum_over_the_density():
    mix, (job_class, *_) = JobMix(SPEC), SPEC.classes
    reach = math.log(SPEC.run_cap_s / job_class.run_median_s) / job_class.run_sigma
    z = np.linspace(-12.0, reach, 400_001)
    density = np.exp(-0.5 * z * z)
    expected = np.trapezoid(job_class.run_median_s * np.exp(job_class.run_sigma * z) * density, z)
    expected /= np.trapezoid(density, z)
    assert mix.mean_run_s(job_class) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": (JobClass(1, 0.5, 10.0, 1.0),)}, "mix lab: shares 0.5 sum to 0.5; expected 1"),
        ({"classes": ()}, "mix lab: shares none sum to 0; expected 1"),
        ({"classes": (JobClass(0, 1.0, 10.0, 1.0),)}, "a class of 0 GPUs; expected 1 or more"),
        ({"classes": (JobClass(1, 1.0, 0.0, 1.0),)}, "run_median 0 s; expected more than 0"),
        ({"classes": (JobClass(1, 1.0, 10.0, -1.0),)}, "run_sigma -1; expected 0 or more"),
        ({"run_cap_s": 100.0}, "run_median 206 s; expected more than 0 and at most run_cap, 100 s"),
        ({"requested_over_run_median": 0.9}, r"requested_over_run_median 0\.9; expected 1 or more"),
    ],
)
def test_impossible_mixes_are_refused(change, message):
    with pytest.raises(CatalogError, match=message):
        JobMix(replace(SPEC, **change))


def test_tenants_whose_shares_do_not_sum_to_one_are_refused():
    with pytest.raises(CatalogError, match=r"tenants of r: shares 0\.4, 0\.4 sum to 0\.8; expected 1"):
        jobs(tenants={"a": 0.4, "b": 0.4})


def test_larger_jobs_can_be_left_out_without_losing_load():
    small = up_to(SPEC, 8)
    assert [one.gpus for one in small.classes] == [1, 8]
    # 0.7 and 0.25 of the whole are 0.737 and 0.263 of what stays.
    assert [one.share_fraction for one in small.classes] == pytest.approx([0.7 / 0.95, 0.25 / 0.95])
    table = JobMix(small).jobs("r", 90.0, MONDAY, 10 * DAY_S, Streams(1))
    expected = 90.0 / JobMix(small).mean_gpu_s * 10 * DAY_S
    # Four standard errors: one false alarm in 16,000.
    assert abs(len(table) - expected) < 4 * math.sqrt(expected)


def test_leaving_out_every_class_is_refused():
    with pytest.raises(CatalogError, match="no jobs of at most 0 GPUs; smallest: 1"):
        up_to(SPEC, 0)
