"""Columns of an Arrow table as numpy arrays: numbers with NaN for null, names as codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

FloatArray = NDArray[np.float64]


def numbers(table: pa.Table, name: str) -> FloatArray:
    """Return a numeric column as floats; null becomes NaN."""
    import pyarrow as pa

    column = table.column(name).cast(pa.float64()).combine_chunks()
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def words(table: pa.Table, name: str) -> list[str]:
    """Return a text column as a list; null becomes the empty text."""
    return [value or "" for value in table.column(name).to_pylist()]


def coded(table: pa.Table, name: str) -> tuple[NDArray[np.int64], list[str]]:
    """Return a text column as codes and the distinct names, sorted; null is the empty text.

    The codes do not depend on the order in which the names appear in the file.
    """
    column: Any = table.column(name).combine_chunks()
    encoded = column.fill_null("").dictionary_encode()
    if hasattr(encoded, "combine_chunks"):
        encoded = encoded.combine_chunks()
    found = encoded.dictionary.to_pylist()
    order = sorted(range(len(found)), key=found.__getitem__)
    rank = np.empty(len(found), dtype=np.int64)
    rank[order] = np.arange(len(found))
    codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
    return (rank[codes] if len(found) else codes), [found[i] for i in order]
