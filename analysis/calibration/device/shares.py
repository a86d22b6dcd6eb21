"""Measured figures beside those that datahall ships for the same part, as lines to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from analysis.calibration.device.device_profile import Profile
from analysis.calibration.device.watching import Window
from simulator.foundation.errors import CatalogError
from simulator.foundation.units import GIGA, MEGA, MICRO, TERA
from simulator.hardware.power_curve import CLOCK_CURVE
from simulator.performance.gpu_power import gpu_power
from simulator.performance.serving_coefficients import ServingCoefficients, serving_coefficients


@dataclass(frozen=True)
class Compared:
    """One figure; None: not known."""

    what: str
    measured: str
    of_sheet: float | None
    """Over the data sheet's peak."""
    shipped: float | None
    """In the unit of `value`."""
    value: float | None
    """Measured, as `shipped` counts it."""
    unit: str = "%"

    @property
    def ratio(self) -> float | None:
        """Return measured over shipped."""
        return None if not self.shipped or self.value is None else self.value / self.shipped


def compared(made: Profile) -> list[Compared]:
    """Return the measured figures in the order in which people ask for them."""
    law = _law(made)
    return [*_rates(made, law), *_watts(made), *_curve(made)]


def lines(made: Profile) -> Iterator[str]:
    """Yield the table, what clocks did, and every note; at most 100 columns."""
    part = "nothing shipped" if made.like is None else made.like.name
    yield f"{'':26}{'measured':>16}{'of data sheet':>16}{'shipped: ' + part:>26}{'ratio':>8}"
    for row in compared(made):
        sheet = "" if row.of_sheet is None else f"{row.of_sheet:.0%}"
        yield (
            f"{row.what:26}{row.measured:>16}{sheet:>16}{_said(row.shipped, row.unit):>26}"
            f"{'' if row.ratio is None else f'{row.ratio:.2f}':>8}"
        )
    yield f"clocks: {made.found.clocks.said}"
    for word in ("products", "copy"):
        window = getattr(made.found.loads, word)
        if window is not None and window.clock_hz is not None:
            held = f", held back by {', '.join(window.reasons)}" if window.reasons else ""
            yield f"  {word} ran at {window.clock_hz / MEGA:.0f} MHz{held}"
    for note in made.found.notes:
        yield f"note: {note}"


def _said(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:.0%}" if unit == "%" else f"{value:.3g} {unit}"


def _law(made: Profile) -> ServingCoefficients | None:
    try:
        return None if made.like is None else serving_coefficients(made.like.generation)
    except CatalogError:
        return None


def _rates(made: Profile, law: ServingCoefficients | None) -> Iterator[Compared]:
    known = made.like is not None
    for how, fit in made.fits.items():
        path = "fp8" if how == "fp8" else "wide"
        shipped = None if law is None or path not in law.products else law.products[path]
        rate = made.found.best("product", how)
        yield Compared(
            f"products {how}, best shape",
            f"{rate / TERA:.4g} TFLOP/s",
            rate / made.peaks[how] if known else None,
            None,
            None,
        )
        if not known:
            continue
        yield Compared(
            f"products {how}, law's peak",
            f"{fit.peak:.0%}",
            fit.peak,
            None if shipped is None else shipped.peak,
            fit.peak,
        )
        if how != made.device.precision:
            continue
        yield Compared(
            "weights streamed",
            f"{fit.bandwidth * made.bandwidth / GIGA:.4g} GB/s",
            fit.bandwidth,
            None if shipped is None else shipped.bandwidth,
            fit.bandwidth,
        )
        launch_us = fit.launch_s / MICRO
        yield Compared(
            "product of no size",
            f"{launch_us:.3g} us",
            None,
            None if shipped is None else shipped.launch_s / MICRO,
            launch_us,
            "us",
        )
    for kernel, word, shipped_share in (
        ("copy", "copy, read and written", None),
        ("attention", "decode attention", None if law is None else law.cache_bandwidth),
    ):
        rate = made.found.best(kernel)
        if rate:
            share = rate / made.bandwidth
            yield Compared(word, f"{rate / GIGA:.4g} GB/s", share if known else None, shipped_share, share)


def _watts(made: Profile) -> Iterator[Compared]:
    loads, like = made.found.loads, made.like
    power = None if like is None else gpu_power(like)
    tdp_w = None if like is None else like.tdp_w
    rows: tuple[tuple[str, Window | None, float | None], ...] = (
        ("watts idle", loads.idle, None if power is None else power.idle_w),
        ("watts loaded, idle", loads.loaded_idle, None if power is None else power.loaded_idle_w),
        ("watts of products", loads.products, None if power is None else power.compute_w),
        ("watts of copying", loads.copy, None if power is None else power.memory_w),
        ("watts of attention", loads.attention, None),
    )
    for word, window, shipped_w in rows:
        if window is not None and window.power_w is not None and not made.device.slice_of:
            watts = window.power_w
            share = None if tdp_w is None else watts / tdp_w
            yield Compared(word, f"{watts:.0f} W", share, shipped_w, watts, "W")


def _curve(made: Profile) -> Iterator[Compared]:
    curve = made.found.clocks.curve
    if curve is None:
        return
    for share in (0.75, 0.5):
        found, shipped = curve.dynamic_fraction(share), CLOCK_CURVE.dynamic_fraction(share)
        yield Compared(f"power above idle at {share:.0%}", f"{found:.0%}", None, shipped, found)
    found, shipped = curve.memory_sensitivity, CLOCK_CURVE.memory_sensitivity
    yield Compared("memory follows clock by", f"{found:.0%}", None, shipped, found)
