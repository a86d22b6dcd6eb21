"""The three kernels that are timed, on a GPU through torch or on the processor through numpy."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from simulator.foundation.errors import DatahallError


class DeviceError(DatahallError, RuntimeError):
    """Nothing can be measured here; the message says what is missing."""


@dataclass(frozen=True)
class Device:
    """What is measured, and with what."""

    name: str
    kind: str
    """``GPU`` or ``CPU``."""
    memory_bytes: float | None
    precision: str
    """Of the products."""
    versions: dict[str, str]
    """Library or driver -> version."""


class Backend(Protocol):
    """Times single kernels; every method returns seconds of one call, the median of `repeats`."""

    device: Device

    def product_s(self, rows: int, inner: int, columns: int, repeats: int) -> float:
        """Time a matrix product of (rows, inner) with (inner, columns). [s]"""
        ...

    def copy_s(self, size_bytes: int, repeats: int) -> float:
        """Time copying an array of so many bytes: it is read once and written once. [s]"""
        ...

    def attention_s(
        self, sequences: int, context: int, heads: int, kv_heads: int, width: int, repeats: int
    ) -> float:
        """Time one layer's attention of one new token of each sequence over its context. [s]"""
        ...


class NumpyBackend:
    """The processor, in 32 bits: a tiny form that runs anywhere."""

    def __init__(self) -> None:
        self.device = Device(
            name=platform.processor() or platform.machine() or "processor",
            kind="CPU",
            memory_bytes=None,
            precision="fp32",
            versions={"numpy": np.__version__, "python": platform.python_version()},
        )
        self._rng = np.random.default_rng(0)

    def product_s(self, rows: int, inner: int, columns: int, repeats: int) -> float:
        """Time a matrix product. [s]"""
        left, right = self._array(rows, inner), self._array(inner, columns)
        out = np.empty((rows, columns), dtype=np.float32)
        return median_s(lambda: np.matmul(left, right, out=out), repeats)

    def copy_s(self, size_bytes: int, repeats: int) -> float:
        """Time a copy. [s]"""
        source = np.ones(size_bytes // 4, dtype=np.float32)
        target = np.empty_like(source)
        return median_s(lambda: np.copyto(target, source), repeats)

    def attention_s(
        self, sequences: int, context: int, heads: int, kv_heads: int, width: int, repeats: int
    ) -> float:
        """Time decode attention. [s]"""
        group = heads // kv_heads
        query = self._array(sequences * kv_heads, group, width)
        keys = self._array(sequences * kv_heads, context, width)
        values = self._array(sequences * kv_heads, context, width)

        def once() -> None:
            score = query @ keys.transpose(0, 2, 1) / np.sqrt(width)
            score = np.exp(score - score.max(axis=-1, keepdims=True))
            np.matmul(score / score.sum(axis=-1, keepdims=True), values)

        return median_s(once, repeats)

    def _array(self, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return self._rng.standard_normal(shape, dtype=np.float32)


class TorchBackend:
    """The first NVIDIA GPU, in BF16, timed by its own clock.

    Raises
    ------
    DeviceError
        If torch is not installed or sees no GPU.
    """

    def __init__(self) -> None:
        try:
            import torch  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise DeviceError(
                "torch is not installed, so no GPU can be measured; install it, or measure the processor "
                "with --tiny"
            ) from None
        if not torch.cuda.is_available():
            raise DeviceError("torch sees no GPU; measure the processor with --tiny")
        self._torch: Any = torch
        facts = torch.cuda.get_device_properties(0)
        self.device = Device(
            name=str(facts.name),
            kind="GPU",
            memory_bytes=float(facts.total_memory),
            precision="bf16",
            versions={"torch": str(torch.__version__), "cuda": str(torch.version.cuda)},
        )

    def product_s(self, rows: int, inner: int, columns: int, repeats: int) -> float:
        """Time a matrix product. [s]"""
        left, right = self._array(rows, inner), self._array(inner, columns)
        return self._median_s(lambda: self._torch.matmul(left, right), repeats)

    def copy_s(self, size_bytes: int, repeats: int) -> float:
        """Time a copy. [s]"""
        source = self._array(size_bytes // 2)
        target = self._torch.empty_like(source)
        return self._median_s(lambda: target.copy_(source), repeats)

    def attention_s(
        self, sequences: int, context: int, heads: int, kv_heads: int, width: int, repeats: int
    ) -> float:
        """Time decode attention. [s]"""
        query = self._array(sequences, heads, 1, width)
        keys = self._array(sequences, kv_heads, context, width)
        values = self._array(sequences, kv_heads, context, width)
        attend = self._torch.nn.functional.scaled_dot_product_attention
        grouped = heads != kv_heads
        return self._median_s(lambda: attend(query, keys, values, enable_gqa=grouped), repeats)

    def _array(self, *shape: int) -> Any:
        return self._torch.randn(*shape, device="cuda", dtype=self._torch.bfloat16)

    def _median_s(self, once: Callable[[], Any], repeats: int) -> float:
        torch = self._torch
        for _ in range(3):
            once()
        spans = []
        for _ in range(repeats):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            once()
            end.record()
            torch.cuda.synchronize()
            spans.append(begin.elapsed_time(end) / 1e3)
        return float(np.median(spans))


def median_s(once: Callable[[], Any], repeats: int) -> float:
    """Return the median wall time of a call, after one that does not count. [s]"""
    once()
    spans = []
    for _ in range(repeats):
        begin = time.perf_counter()
        once()
        spans.append(time.perf_counter() - begin)
    return float(np.median(spans))
