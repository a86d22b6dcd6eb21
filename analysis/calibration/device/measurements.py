"""What is measured on a device: products by shape, memory, decode attention, watts, the effect of clocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from analysis.calibration.device.backend import Backend, CannotRun, Once
from analysis.calibration.device.clocks import ClockEffect, ClockLevel, sweep
from analysis.calibration.device.monitor import GpuFacts, Monitor
from analysis.calibration.device.watching import Window, watch
from simulator.foundation.units import GIB, KIB, MEGA, MIB

#: Bytes of one value by format.
VALUE_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1}

#: Heads of the attention that is timed: Llama 3.1 8B's.
HEADS, KV_HEADS, WIDTH = 32, 8, 128

#: Below this share of the highest clock, with nothing holding it back, somebody has locked it.
_LOCKED_BELOW = 0.8


@dataclass(frozen=True)
class Sizes:
    """How large, how long and how patient."""

    products: tuple[tuple[int, int, int], ...]
    """(rows, inner, columns)."""
    copies_bytes: tuple[int, ...]
    attention: tuple[tuple[int, int], ...]
    """(sequences, context)."""
    span_s: float
    """Of repeating one kernel to time it. [s]"""
    settle_s: float
    watch_s: float
    """Of watching watts, after settling. [s]"""


#: Layers of Llama 3.1 8B by width of the batch; copies that no cache holds; contexts up to 128k.
FULL = Sizes(
    products=tuple(
        (rows, inner, columns)
        for rows in (1, 8, 32, 64, 128, 256, 512, 1024, 2048, 8192)
        for inner, columns in ((4096, 6144), (4096, 4096), (4096, 28672), (14336, 4096))
    ),
    copies_bytes=(256 * MIB, GIB, 4 * GIB),
    attention=(
        *((n, context) for n in (1, 8, 64, 256) for context in (512, 2048, 8192)),
        *((n, 32 * KIB) for n in (1, 8, 64)),
        *((n, 128 * KIB) for n in (1, 8)),
    ),
    span_s=0.15,
    settle_s=2.5,
    watch_s=8.0,
)
#: The same in a second on a processor, for tests.
TINY = Sizes(
    products=((1, 256, 256), (16, 256, 256), (64, 256, 256), (256, 256, 512)),
    copies_bytes=(8 * MIB,),
    attention=((1, 128), (4, 256)),
    span_s=0.01,
    settle_s=0.0,
    watch_s=0.01,
)


@dataclass(frozen=True)
class Row:
    """One timed kernel and the rate that it reached: flop/s or B/s."""

    kernel: str
    """``product``, ``copy`` or ``attention``."""
    how: str
    """Format of a product, implementation of attention."""
    shape: tuple[int, ...]
    seconds: float
    rate_per_s: float


@dataclass(frozen=True)
class Loads:
    """Watched windows: at rest, with operands in place, and under three kinds of work."""

    idle: Window | None = None
    loaded_idle: Window | None = None
    products: Window | None = None
    copy: Window | None = None
    attention: Window | None = None


@dataclass(frozen=True)
class Measurements:
    """Everything that was measured on one device."""

    rows: tuple[Row, ...]
    loads: Loads = field(default_factory=Loads)
    clocks: ClockEffect = field(default_factory=ClockEffect)
    facts: GpuFacts | None = None
    notes: tuple[str, ...] = ()
    """What was left out or is doubtful, in words."""
    product_flop: float = 0.0
    """Of one call of the watched product. [flop]"""
    copy_bytes: float = 0.0
    """Moved by one call of the watched copy. [B]"""

    def best(self, kernel: str, how: str | None = None) -> float:
        """Return the highest rate of a kernel. [flop/s or B/s]"""
        found = [row.rate_per_s for row in self.of(kernel) if how is None or row.how == how]
        return max(found, default=0.0)

    def of(self, kernel: str, how: str | None = None) -> list[Row]:
        """Return the rows of a kernel."""
        return [row for row in self.rows if row.kernel == kernel and (how is None or row.how == how)]


@dataclass
class Patience:
    """How long measuring may take, and what it has to say meanwhile."""

    span_s: float
    tell: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self._begun_s = time.monotonic()

    def is_spent(self) -> bool:
        """Return whether nothing more may be begun."""
        return time.monotonic() - self._begun_s > self.span_s


@dataclass
class Measuring:
    """One device being measured; `notes` fills up on the way."""

    backend: Backend
    sizes: Sizes
    monitor: Monitor | None
    is_slice: bool
    patience: Patience
    notes: list[str] = field(default_factory=list)

    def rows(self) -> list[Row]:
        """Return every kernel that fits, timed; those that do not are noted."""
        wanted = [*self._products(), *self._copies(), *self._attentions()]
        found: list[Row] = []
        refused: dict[str, list[str]] = {}
        told = ""
        for index, (kernel, how, shape, work, needs_bytes, make) in enumerate(wanted):
            if self.patience.is_spent():
                self.notes.append(
                    f"{len(wanted) - index} of {len(wanted)} kernels not timed: patience was spent"
                )
                break
            if told != (told := f"{kernel} {how}"):
                self.patience.tell(f"timing {told}")
            try:
                if needs_bytes > self.backend.room_bytes():
                    raise CannotRun("no room")
                span_s = self.backend.seconds(make(), self.sizes.span_s)
            except CannotRun as reason:
                refused.setdefault(f"{kernel} {how}: {reason}", []).append("x".join(map(str, shape)))
                self.backend.forget()
                continue
            found.append(Row(kernel, how, shape, span_s, work / span_s))
        self.notes += [f"{why} ({_listed(shapes)})" for why, shapes in refused.items()]
        self.backend.forget()
        return found

    def loads(self, idle: Window | None) -> tuple[Loads, float, float]:
        """Return the watched windows, the flop of the product and the bytes of the copy."""
        self.patience.tell("watching watts")
        product, flop = self._largest_product()
        copy, moved = self._largest_copy()
        self.backend.busy(product, 1)
        loaded = self._watched(None)
        loads = Loads(
            idle=idle,
            loaded_idle=loaded,
            products=self._watched(product),
            copy=self._watched(copy),
            attention=self._watched(self._largest_attention()),
        )
        for word, window in vars(loads).items():
            if window is not None and not window.steady:
                self.notes.append(f"watts {word.replace('_', ' ')} were still moving when they were read")
        return loads, flop, moved

    def effect_of_clocks(self, loads: Loads, asked: bool) -> ClockEffect:
        """Return what lower clocks do; clocks are locked only where somebody asked for it."""
        if loads.products is None or loads.copy is None:
            return ClockEffect(said="not measured: no driver tells clocks here")
        free = ClockLevel(None, loads.products, loads.copy)
        refusal = self._no_locks(loads.copy, asked)
        if refusal or self.monitor is None:
            return ClockEffect((free,), None, f"not locked: {refusal}")
        product, _ = self._largest_product()
        copy, _ = self._largest_copy()

        def measured(clock_hz: float) -> ClockLevel:
            self.patience.tell(f"clocks locked at {clock_hz / MEGA:.0f} MHz")
            return ClockLevel(clock_hz, self._short(product), self._short(copy))

        floor_w = loads.idle.power_w if loads.idle is not None else None
        return sweep(self.monitor, free, measured, floor_w, self.patience.is_spent)

    def _no_locks(self, copy: Window, asked: bool) -> str:
        """Return why clocks are left alone; nothing if they may be locked."""
        if not asked:
            return "nobody asked for it (--clocks)"
        if self.monitor is None:
            return "no driver tells clocks here"
        if self.is_slice:
            return "other MIG instances share the GPU's clocks"
        highest = self.monitor.facts.highest_clock_hz
        held_back = copy.reasons
        if highest and copy.clock_hz and not held_back and copy.clock_hz < _LOCKED_BELOW * highest:
            return (
                f"they stay at {copy.clock_hz / MEGA:.0f} of {highest / MEGA:.0f} MHz though nothing holds "
                "them back, so somebody else has locked them"
            )
        return ""

    def _watched(self, once: Once | None) -> Window:
        return self._watch(once, self.sizes.settle_s, self.sizes.watch_s)

    def _short(self, once: Once) -> Window:
        return self._watch(once, 0.6 * self.sizes.settle_s, 0.5 * self.sizes.watch_s)

    def _watch(self, once: Once | None, settle_s: float, span_s: float) -> Window:
        call_s = 0.0 if once is None else self.backend.seconds(once, 0.0)
        return watch(self.monitor, self.backend, once, call_s=call_s, settle_s=settle_s, span_s=span_s)

    def _largest_product(self) -> tuple[Once, float]:
        """Return the product of the largest shape that fits, and its flop."""
        backend = self.backend
        for shape in sorted(self.sizes.products, key=_flop, reverse=True):
            if _product_bytes(shape, backend.precisions[0]) <= backend.room_bytes():
                return backend.product(shape, backend.precisions[0]), _flop(shape)
        raise CannotRun("no product fits into the memory that is free")

    def _largest_copy(self) -> tuple[Once, float]:
        for size in sorted(self.sizes.copies_bytes, reverse=True):
            if 2.0 * size <= self.backend.room_bytes():
                return self.backend.copy(size), 2.0 * size
        raise CannotRun("no copy fits into the memory that is free")

    def _largest_attention(self) -> Once | None:
        backend = self.backend
        for sequences, context in sorted(self.sizes.attention, key=lambda one: one[0] * one[1], reverse=True):
            if _read_bytes(sequences, context, backend) > backend.room_bytes():
                continue
            for how in backend.attentions:
                try:
                    once = backend.attention(sequences, context, HEADS, KV_HEADS, WIDTH, how)
                    backend.busy(once, 1)
                except CannotRun:
                    continue
                return once
        return None

    def _products(self) -> list[tuple[str, str, tuple[int, ...], float, float, Callable[[], Once]]]:
        backend = self.backend
        return [
            (
                "product",
                how,
                shape,
                _flop(shape),
                _product_bytes(shape, how),
                lambda shape=shape, how=how: backend.product(shape, how),  # type: ignore[misc]
            )
            for how in backend.precisions
            for shape in self.sizes.products
        ]

    def _copies(self) -> list[tuple[str, str, tuple[int, ...], float, float, Callable[[], Once]]]:
        backend = self.backend
        return [
            (
                "copy",
                backend.device.precision,
                (size,),
                2.0 * size,
                2.0 * size,
                lambda size=size: backend.copy(size),  # type: ignore[misc]
            )
            for size in self.sizes.copies_bytes
        ]

    def _attentions(self) -> list[tuple[str, str, tuple[int, ...], float, float, Callable[[], Once]]]:
        backend = self.backend
        return [
            (
                "attention",
                how,
                (sequences, context),
                _read_bytes(sequences, context, backend),
                _read_bytes(sequences, context, backend),
                lambda sequences=sequences, context=context, how=how: backend.attention(  # type: ignore[misc]
                    sequences, context, HEADS, KV_HEADS, WIDTH, how
                ),
            )
            for how in backend.attentions
            for sequences, context in self.sizes.attention
        ]


def measure(
    backend: Backend,
    sizes: Sizes,
    *,
    monitor: Monitor | None = None,
    is_slice: bool = False,
    idle: Window | None = None,
    clocks: bool = False,
    patience: Patience | None = None,
) -> Measurements:
    """Return everything that can be measured through a backend.

    Parameters
    ----------
    monitor
        Of the GPU; None: no watts, no clocks.
    is_slice
        The backend computes on a MIG instance: watts and clocks are those of the whole GPU.
    idle
        What was seen before anybody used the GPU.
    clocks
        Lock clocks, and give them back.
    """
    measuring = Measuring(backend, sizes, monitor, is_slice, patience or Patience(3600.0))
    rows = measuring.rows()
    facts = None if monitor is None else monitor.facts
    loads, flop, moved = Loads(idle=idle), 0.0, 0.0
    effect = ClockEffect(said="not measured: no driver tells clocks here")
    if monitor is not None and facts is not None:
        measuring.notes += _doubts(facts, is_slice)
        if measuring.patience.is_spent():
            measuring.notes.append("watts at work not watched: patience was spent")
            effect = ClockEffect(said="not measured: patience was spent")
        else:
            loads, flop, moved = measuring.loads(idle)
            effect = measuring.effect_of_clocks(loads, clocks)
    return Measurements(tuple(rows), loads, effect, facts, tuple(measuring.notes), flop, moved)


def _doubts(facts: GpuFacts, is_slice: bool) -> list[str]:
    """Return what makes the watts of a GPU doubtful."""
    found = []
    if is_slice:
        found.append("a MIG instance: watts and clocks are the whole GPU's, and not taken into the profile")
    if facts.processes:
        found.append(f"{facts.processes} other processes computed on this GPU: its idle watts are not idle")
    if facts.persistence is False:
        found.append("persistence mode is off: a GPU that nobody uses may draw less than was read")
    if (
        facts.limit_w is not None
        and facts.default_limit_w is not None
        and facts.limit_w < facts.default_limit_w
    ):
        found.append(f"measured under a power limit of {facts.limit_w:.0f} of {facts.default_limit_w:.0f} W")
    return found


def _flop(shape: tuple[int, int, int]) -> float:
    rows, inner, columns = shape
    return 2.0 * rows * inner * columns


def _product_bytes(shape: tuple[int, int, int], how: str) -> float:
    """Return the memory of operands and result; operands of FP8 are made from wider ones. [B]"""
    rows, inner, columns = shape
    size = 3.0 if how == "fp8" else float(VALUE_BYTES[how])
    return size * (rows * inner + inner * columns) + 4.0 * rows * columns


def _read_bytes(sequences: int, context: int, backend: Backend) -> float:
    """Return the bytes of keys and values that attention reads. [B]"""
    size = VALUE_BYTES[backend.device.precision]
    return 2.0 * sequences * context * KV_HEADS * WIDTH * size


def _listed(words: list[str], most: int = 4) -> str:
    if len(words) <= most:
        return ", ".join(words)
    return f"{', '.join(words[:most])} and {len(words) - most} more"
