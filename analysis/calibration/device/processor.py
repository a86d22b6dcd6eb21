"""The processor timed through numpy, in 32 bits: the tiny form that runs anywhere."""

from __future__ import annotations

import platform
import time
from typing import Any, Final

import numpy as np

from analysis.calibration.device.backend import Device, Once

#: Fewest timed calls, however long one takes.
_FEWEST: Final = 3


class NumpyBackend:
    """The processor."""

    precisions: tuple[str, ...] = ("fp32",)
    attentions: tuple[str, ...] = ("numpy",)

    def __init__(self) -> None:
        self.device = Device(
            name=platform.processor() or platform.machine() or "processor",
            kind="CPU",
            memory_bytes=None,
            precision="fp32",
            versions={"numpy": np.__version__, "python": platform.python_version()},
        )
        self._rng = np.random.default_rng(0)

    def product(self, shape: tuple[int, int, int], precision: str) -> Once:
        """Return a matrix product."""
        rows, inner, columns = shape
        left, right = self._array(rows, inner), self._array(inner, columns)
        out = np.empty((rows, columns), dtype=np.float32)
        return lambda: np.matmul(left, right, out=out)

    def copy(self, size_bytes: int) -> Once:
        """Return a copy."""
        source = np.ones(size_bytes // 4, dtype=np.float32)
        target = np.empty_like(source)
        return lambda: np.copyto(target, source)

    def attention(
        self, sequences: int, context: int, heads: int, kv_heads: int, width: int, how: str
    ) -> Once:
        """Return decode attention."""
        query = self._array(sequences * kv_heads, heads // kv_heads, width)
        keys = self._array(sequences * kv_heads, context, width)
        values = self._array(sequences * kv_heads, context, width)

        def once() -> None:
            score = query @ keys.transpose(0, 2, 1) / np.sqrt(width)
            score = np.exp(score - score.max(axis=-1, keepdims=True))
            np.matmul(score / score.sum(axis=-1, keepdims=True), values)

        return once

    def seconds(self, once: Once, span_s: float) -> float:
        """Return the median wall time of a call, after one that does not count. [s]"""
        once()
        spans: list[float] = []
        end = time.perf_counter() + span_s
        while len(spans) < _FEWEST or time.perf_counter() < end:
            begin = time.perf_counter()
            once()
            spans.append(time.perf_counter() - begin)
        return float(np.median(spans))

    def busy(self, once: Once, calls: int) -> None:
        """Do calls back to back."""
        for _ in range(calls):
            once()

    def room_bytes(self) -> float:
        """Return 2 GB: the tiny form needs no more. [B]"""
        return 2e9

    def forget(self) -> None:
        """Do nothing: numpy gives back by itself."""

    def _array(self, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return self._rng.standard_normal(shape, dtype=np.float32)
