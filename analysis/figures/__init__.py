"""One module a figure; each offers ``NAME``, ``TITLE`` and ``draw(run)``.

A new figure is a file here and a row in ``FIGURES``, whose order is the report's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from analysis.drawing import Draw
from analysis.figures import (
    carbon,
    cost,
    distribution,
    gpu_time,
    latency,
    load_duration,
    occupancy,
    power,
    queue,
    step,
    waterfall,
)

FIGURES: Final[Mapping[str, Draw]] = {
    occupancy.NAME: occupancy.draw,
    queue.NAME: queue.draw,
    waterfall.NAME: waterfall.draw,
    gpu_time.NAME: gpu_time.draw,
    step.NAME: step.draw,
    distribution.NAME: distribution.draw,
    latency.NAME: latency.draw,
    power.NAME: power.draw,
    load_duration.NAME: load_duration.draw,
    carbon.NAME: carbon.draw,
    cost.NAME: cost.draw,
}
