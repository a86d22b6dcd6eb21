"""What times kernels on a device: a protocol, and what it says of the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from simulator.foundation.errors import DatahallError

#: One call of a kernel on operands that are there already.
Once = Callable[[], Any]


class DeviceError(DatahallError, RuntimeError):
    """Nothing can be measured here; the message says what is missing."""


class CannotRun(Exception):  # noqa: N818 - one shape is left out, with its reason
    """A kernel does not run here in this shape: no room, no such format; the text says which."""


@dataclass(frozen=True)
class Device:
    """What is measured, and with what."""

    name: str
    kind: str
    """``GPU`` or ``CPU``."""
    memory_bytes: float | None
    precision: str
    """Of the wide products: ``bf16``, ``fp16`` or ``fp32``."""
    versions: dict[str, str]
    """Library or driver -> version."""
    generation: str = ""
    """As the catalog calls it; empty where it does not say."""
    uuid: str = ""
    slice_of: str = ""
    """UUID of the GPU that a MIG instance is a part of; empty for a whole GPU."""


class Backend(Protocol):
    """Makes kernels with their operands in place, and times them.

    Kernels raise `CannotRun` when they are made or first called in a shape that does not fit.
    """

    device: Device
    precisions: tuple[str, ...]
    """Of products, the wide one first."""
    attentions: tuple[str, ...]
    """Implementations of decode attention."""

    def product(self, shape: tuple[int, int, int], precision: str) -> Once:
        """Return a matrix product of (rows, inner) with (inner, columns)."""
        ...

    def copy(self, size_bytes: int) -> Once:
        """Return a copy of an array of so many bytes: it is read once and written once."""
        ...

    def attention(
        self, sequences: int, context: int, heads: int, kv_heads: int, width: int, how: str
    ) -> Once:
        """Return one layer's attention of one new token of each sequence over its context."""
        ...

    def seconds(self, once: Once, span_s: float) -> float:
        """Return the median time of single calls on cold caches, tried for about a span. [s]"""
        ...

    def busy(self, once: Once, calls: int) -> None:
        """Do calls back to back and return when the last has ended."""
        ...

    def room_bytes(self) -> float:
        """Return the memory that operands may take. [B]"""
        ...

    def forget(self) -> None:
        """Give back the memory of operands that nobody holds."""
        ...
