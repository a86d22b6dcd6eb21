"""What is timed on a device: products by shape, memory, decode attention, watts at rest and at work."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.calibration.device.backends import Backend
from analysis.calibration.device.watts import mean_power_w, number, query


@dataclass(frozen=True)
class Sizes:
    """How large and how often."""

    products: tuple[tuple[int, int, int], ...]
    """(rows, inner, columns)."""
    copy_bytes: int
    attention: tuple[tuple[int, int], ...]
    """(sequences, context)."""
    repeats: int
    watch_s: float
    """How long watts are watched, at rest and at work. [s]"""


#: Layers of Llama 3.1 8B by width of the batch; a copy that no cache holds.
FULL = Sizes(
    products=tuple(
        (rows, inner, columns)
        for rows in (1, 8, 32, 128, 512, 2048, 8192)
        for inner, columns in ((4096, 6144), (4096, 4096), (4096, 28672), (14336, 4096))
    ),
    copy_bytes=2 << 30,
    attention=tuple((n, context) for n in (1, 8, 64, 256) for context in (512, 2048, 8192)),
    repeats=20,
    watch_s=10.0,
)
#: The same in seconds on a processor, for tests.
TINY = Sizes(
    products=((1, 256, 256), (64, 256, 256), (256, 256, 512)),
    copy_bytes=8 << 20,
    attention=((1, 128), (4, 256)),
    repeats=3,
    watch_s=0.0,
)

#: Heads of the attention that is timed: Llama 3.1 8B's.
HEADS, KV_HEADS, WIDTH = 32, 8, 128


@dataclass(frozen=True)
class Row:
    """One timed kernel and the rate that it reached: flop/s or B/s."""

    kernel: str
    shape: tuple[int, ...]
    seconds: float
    rate_per_s: float


@dataclass(frozen=True)
class Measurements:
    """Everything that was measured on one device; None: it does not tell."""

    rows: tuple[Row, ...]
    idle_w: float | None
    load_w: float | None
    limit_w: float | None
    lowest_limit_w: float | None
    driver: str

    def best(self, kernel: str) -> float:
        """Return the highest rate of a kernel. [flop/s or B/s]"""
        return max(row.rate_per_s for row in self.rows if row.kernel == kernel)


def measure(backend: Backend, sizes: Sizes) -> Measurements:
    """Return everything that can be measured through a backend."""
    rows = []
    for rows_, inner, columns in sizes.products:
        span_s = backend.product_s(rows_, inner, columns, sizes.repeats)
        rows.append(Row("product", (rows_, inner, columns), span_s, 2.0 * rows_ * inner * columns / span_s))
    span_s = backend.copy_s(sizes.copy_bytes, sizes.repeats)
    rows.append(Row("copy", (sizes.copy_bytes,), span_s, 2.0 * sizes.copy_bytes / span_s))
    size = 2 if backend.device.kind == "GPU" else 4
    for sequences, context in sizes.attention:
        span_s = backend.attention_s(sequences, context, HEADS, KV_HEADS, WIDTH, sizes.repeats)
        read = 2.0 * sequences * context * KV_HEADS * WIDTH * size
        rows.append(Row("attention", (sequences, context), span_s, read / span_s))
    fields = query() if backend.device.kind == "GPU" else {}
    widest = max(sizes.products, key=lambda shape: shape[0] * shape[1] * shape[2])
    idle_w = load_w = None
    if fields:
        idle_w = mean_power_w(None, sizes.watch_s)
        load_w = mean_power_w(lambda: backend.product_s(*widest, 5), sizes.watch_s)
    return Measurements(
        rows=tuple(rows),
        idle_w=idle_w,
        load_w=load_w,
        limit_w=number(fields, "power.limit"),
        lowest_limit_w=number(fields, "power.min_limit"),
        driver=fields.get("driver_version", ""),
    )
