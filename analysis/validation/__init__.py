"""The product against published measurements: which suites there are, and what each is made of.

A suite is a row of ``SUITES``: its name, and the modules that make its tables. Such a module has
``tables(data)``, where ``data`` is the folder with the measurements, and answers with
what ``datahall validate`` prints. A module whose measurements are not there raises
``MeasurementsMissing`` with the path it looked for.
"""

from __future__ import annotations

from typing import Final

from simulator.foundation.errors import DatahallError

#: Suite -> the modules that make its tables, in the order in which they are printed.
SUITES: Final[dict[str, tuple[str, ...]]] = {
    "training": ("analysis.validation.training", "analysis.validation.collectives"),
    "serving": (
        "analysis.validation.serving_points",
        "analysis.validation.serving_watts",
        "analysis.validation.vllm_runs",
        "analysis.validation.vidur_answers",
    ),
    "serving-folds": ("analysis.validation.serving_folds",),
}


class MeasurementsMissing(DatahallError):  # noqa: N818 - what is wrong, in words
    """The measurements that a suite compares with are not at hand; the message says where."""
