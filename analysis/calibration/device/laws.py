"""What timed products and attention say in the terms of the serving laws: launch and shares of peaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.calibration.device.measurements import Row


@dataclass(frozen=True)
class ProductFit:
    """The law of `simulator.performance.serving_coefficients.ProductLaw` through measured products."""

    launch_s: float
    bandwidth: float
    """Fraction of the memory's peak."""
    peak: float
    """Fraction of the dense peak."""
    error: float
    """Mean absolute relative error of the times."""


def fitted_products(
    rows: list[Row], peak_flop_per_s: float, bytes_per_s: float, bytes_per_value: float, corner: float
) -> ProductFit | None:
    """Return the law that fits products best; None with fewer than four, which fix nothing.

    Parameters
    ----------
    rows
        Products of one format.
    bytes_per_value
        Of the weights that are streamed; what goes in and comes out has two bytes. [B]
    corner
        Sharpness of the roofline's corner, taken as shipped.
    """
    if len(rows) < 4:
        return None
    from scipy.optimize import least_squares

    shapes = np.array([row.shape for row in rows], dtype=np.float64)
    tokens, inner, columns = shapes.T
    streamed = bytes_per_value * inner * columns + 2.0 * tokens * (inner + columns)
    flop = 2.0 * tokens * inner * columns
    seconds = np.array([row.seconds for row in rows])

    def predicted(x: np.ndarray) -> np.ndarray:
        launch_s, bandwidth, peak = np.exp(x)
        read_s, work_s = streamed / (bandwidth * bytes_per_s), flop / (peak * peak_flop_per_s)
        return np.asarray(launch_s + (read_s**corner + work_s**corner) ** (1.0 / corner))

    start = np.log([2e-6, 0.7, 0.6])
    # No share is above 1: what runs faster than its data sheet says is taken at its word.
    low, high = np.log([1e-8, 0.02, 0.005]), np.log([1e-3, 1.0, 1.0])
    found = least_squares(lambda x: np.log(predicted(x) / seconds), start, bounds=(low, high), loss="soft_l1")
    launch_s, bandwidth, peak = (float(value) for value in np.exp(found.x))
    return ProductFit(launch_s, bandwidth, peak, float(np.mean(np.abs(predicted(found.x) / seconds - 1.0))))
