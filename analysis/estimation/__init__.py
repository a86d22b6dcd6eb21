"""Predictions for a table of cases: one row in, the same row with predictions out.

A kind is a row of ``KINDS``: its name and the module that predicts it. Such a module has
``REQUIRED`` (columns a file must have), ``PREDICTED`` (columns it adds, in order) and
``predictor(catalog)``, which returns a function from a row to its predictions; that function
raises a ``DatahallError`` for a row that it refuses, and the message becomes its reason.
"""

from __future__ import annotations

from typing import Final

#: Kind -> the module that predicts it.
KINDS: Final[dict[str, str]] = {
    "training": "analysis.estimation.training",
    "serving": "analysis.estimation.serving",
}
