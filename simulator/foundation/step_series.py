"""A quantity that holds until its next change, and its exact integral."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.foundation.errors import TraceError

Floats: TypeAlias = NDArray[np.float64]
Truths: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class StepSeries:
    """A step function of time: ``value[i]`` holds from ``start_s[i]`` until the next start.

    Parameters
    ----------
    start_s : (n,) float
        When each value begins, strictly increasing. [s since the run's start]
    value : (n,) float
        The values, finite, in the unit of whoever holds the series.
    end_s
        Where the last value ends, after the last start. [s since the run's start]

    Raises
    ------
    TraceError
        Lengths differ, starts do not increase, or a number is not finite; the message gives the
        indexes.

    Examples
    --------
    >>> power_w = StepSeries([0.0, 10.0], [5.0, 7.0], 20.0)
    >>> power_w.integral(), power_w.at(10.0), power_w.integrals_between([0, 5, 15]).tolist()
    (120.0, 7.0, [25.0, 60.0])
    """

    start_s: Floats
    value: Floats
    end_s: float

    def __init__(self, start_s: ArrayLike, value: ArrayLike, end_s: float) -> None:
        starts, values = _read_only(start_s), _read_only(value)
        _check(starts, values, float(end_s))
        object.__setattr__(self, "start_s", starts)
        object.__setattr__(self, "value", values)
        object.__setattr__(self, "end_s", float(end_s))

    def __reduce__(self) -> tuple[type[StepSeries], tuple[Floats, Floats, float]]:
        # Made anew on the other side, so that the arrays are read-only there too.
        return type(self), (self.start_s, self.value, self.end_s)

    @classmethod
    def constant(cls, value: float, end_s: float, start_s: float = 0.0) -> Self:
        """Return one value from `start_s` to `end_s`."""
        return cls([start_s], [value], end_s)

    @classmethod
    def from_events(
        cls, times_s: ArrayLike, deltas: ArrayLike, initial: float, end_s: float, start_s: float = 0.0
    ) -> Self:
        """Return the running sum of changes; simultaneous ones are merged into one step.

        Parameters
        ----------
        times_s : (n,) float
            When each change happens, in any order, within [start_s, end_s]. [s]
        deltas : (n,) float
            By how much the value changes. A change at `end_s` itself has no width and no effect.
        initial
            The value before the first change.
        end_s, start_s
            The span of the series. [s]

        Examples
        --------
        >>> busy = StepSeries.from_events([1, 3, 3], [4, -1, -3], 0, 5)
        >>> busy.start_s.tolist(), busy.value.tolist()
        ([0.0, 1.0, 3.0], [0.0, 4.0, 0.0])
        """
        times, changes = np.asarray(times_s, dtype=np.float64), np.asarray(deltas, dtype=np.float64)
        if times.shape != changes.shape or times.ndim != 1:
            raise TraceError(f"{times.size} times for {changes.size} changes")
        wrong = ~((times >= start_s) & (times <= end_s))
        if wrong.any():
            raise TraceError(f"changes outside {_span(start_s, end_s)} at indexes {_indexes(wrong)}")
        order = np.argsort(times, kind="stable")
        times, changes = times[order], changes[order]
        inside = times < end_s
        times, changes = times[inside], changes[inside]
        values = initial + np.cumsum(changes)
        # Of simultaneous changes only the last running sum is ever held.
        last = np.append(times[1:] != times[:-1], True) if times.size else np.zeros(0, dtype=bool)
        times, values = times[last], values[last]
        if not times.size or times[0] > start_s:
            times, values = np.insert(times, 0, start_s), np.insert(values, 0, initial)
        return cls(times, values, end_s)

    @classmethod
    def sum_of(cls, parts: Sequence[StepSeries]) -> Self:
        """Return the sum of series that cover the same span."""
        if not parts:
            raise TraceError("a sum needs at least one series")
        if len(parts) == 1:
            return cls(parts[0].start_s, parts[0].value, parts[0].end_s)
        middle = len(parts) // 2
        # Halving keeps the work near n log n and rounding small, whatever the number of parts.
        left, right = cls.sum_of(parts[:middle]), cls.sum_of(parts[middle:])
        edges = merged_edges([left, right])
        return cls(edges, left.at(edges) + right.at(edges), left.end_s)

    @cached_property
    def begin_s(self) -> float:
        """When the series begins. [s since the run's start]"""
        return float(self.start_s[0])

    @cached_property
    def widths_s(self) -> Floats:
        """How long each value holds. (n,) [s]"""
        return _frozen(np.diff(self.start_s, append=self.end_s))

    @cached_property
    def _integral_before(self) -> Floats:
        """Integral from the beginning to each start. (n,)"""
        before = np.empty_like(self.value)
        before[0] = 0.0
        np.cumsum(self.value[:-1] * self.widths_s[:-1], out=before[1:])
        return _frozen(before)

    def __len__(self) -> int:
        return int(self.start_s.size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StepSeries):
            return NotImplemented
        return (
            self.end_s == other.end_s
            and np.array_equal(self.start_s, other.start_s)
            and np.array_equal(self.value, other.value)
        )

    def __hash__(self) -> int:
        return hash((self.end_s, self.start_s.tobytes(), self.value.tobytes()))

    @overload
    def at(self, moment_s: float) -> float: ...
    @overload
    def at(self, moment_s: Floats) -> Floats: ...
    def at(self, moment_s: float | Floats) -> float | Floats:
        """Return the value held at a moment, or at each of many; at the end, the last value."""
        if isinstance(moment_s, np.ndarray):
            return self.value[self._positions(moment_s)]
        return float(self.value[self._position(moment_s)])

    def antiderivative_at(self, moments_s: ArrayLike) -> Floats:
        """Return the integral from the beginning to each moment.

        Parameters
        ----------
        moments_s : (m,) float
            Moments within the series, in any order. [s]

        Returns
        -------
        (m,) float
            Value times seconds.
        """
        moments = np.asarray(moments_s, dtype=np.float64)
        index = self._positions(moments)
        result: Floats = self._integral_before[index] + self.value[index] * (moments - self.start_s[index])
        return result

    def integral(self, from_s: float | None = None, to_s: float | None = None) -> float:
        """Return the integral between two moments; without them, over the whole series."""
        from_s = self.begin_s if from_s is None else from_s
        to_s = self.end_s if to_s is None else to_s
        if to_s < from_s:
            raise TraceError(f"an integral from {from_s:g} s back to {to_s:g} s")
        return self._until(to_s) - self._until(from_s)

    def integrals_between(self, edges_s: ArrayLike) -> Floats:
        """Return the integral of each interval between neighbouring edges.

        Parameters
        ----------
        edges_s : (m,) float
            Increasing moments within the series. [s]

        Returns
        -------
        (m-1,) float
            Value times seconds in each interval; their sum is the integral over all.
        """
        # The few edges are looked up among the many changes, never the other way round.
        return np.diff(self.antiderivative_at(edges_s))

    def means_between(self, edges_s: ArrayLike) -> Floats:
        """Return the time-weighted mean of each interval between neighbouring edges. (m-1,)"""
        edges = np.asarray(edges_s, dtype=np.float64)
        result: Floats = self.integrals_between(edges) / np.diff(edges)
        return result

    def mean(self, from_s: float | None = None, to_s: float | None = None) -> float:
        """Return the time-weighted mean between two moments; without them, of the whole series."""
        from_s = self.begin_s if from_s is None else from_s
        to_s = self.end_s if to_s is None else to_s
        if to_s == from_s:
            return self.at(from_s)
        return self.integral(from_s, to_s) / (to_s - from_s)

    def maximum(self, from_s: float | None = None, to_s: float | None = None) -> float:
        """Return the largest value held for any time between two moments."""
        return float(self._held(from_s, to_s).max())

    def minimum(self, from_s: float | None = None, to_s: float | None = None) -> float:
        """Return the smallest value held for any time between two moments."""
        return float(self._held(from_s, to_s).min())

    def next_change(self, moment_s: float) -> float | None:
        """Return the first start after a moment, or None when the value holds to the end. [s]"""
        index = int(np.searchsorted(self.start_s, moment_s, side="right"))
        return float(self.start_s[index]) if index < len(self) else None

    def first_time(self, holds: Callable[[Floats], Truths], from_s: float | None = None) -> float | None:
        """Return the first moment, not before `from_s`, at which the value satisfies `holds`. [s]

        Parameters
        ----------
        holds
            Takes an array of values, answers an array of truths.
        from_s
            Where to begin looking; the beginning if not given. [s]

        Returns
        -------
        float or None
            None when it never happens before the end.
        """
        from_s = self.begin_s if from_s is None else from_s
        if from_s >= self.end_s:
            return from_s if from_s == self.end_s and bool(holds(self.value[-1:])[0]) else None
        first = self._position(from_s)
        # Look in doubling stretches: the answer is mostly near, and the series may be long.
        stretch = 64
        while first < len(self):
            found = np.flatnonzero(holds(self.value[first : first + stretch]))
            if found.size:
                return max(from_s, float(self.start_s[first + int(found[0])]))
            first, stretch = first + stretch, stretch * 2
        return None

    def first_at_least(self, threshold: float, from_s: float | None = None) -> float | None:
        """Return the first moment at which the value is `threshold` or more, or None. [s]"""
        return self.first_time(lambda values: values >= threshold, from_s)

    def first_at_most(self, threshold: float, from_s: float | None = None) -> float | None:
        """Return the first moment at which the value is `threshold` or less, or None. [s]"""
        return self.first_time(lambda values: values <= threshold, from_s)

    def first_above(self, threshold: float, from_s: float | None = None) -> float | None:
        """Return the first moment at which the value exceeds `threshold`, or None. [s]"""
        return self.first_time(lambda values: values > threshold, from_s)

    def first_below(self, threshold: float, from_s: float | None = None) -> float | None:
        """Return the first moment at which the value is under `threshold`, or None. [s]"""
        return self.first_time(lambda values: values < threshold, from_s)

    def shift(self, by_s: float) -> StepSeries:
        """Return the same values, `by_s` later."""
        return StepSeries(self.start_s + by_s, self.value, self.end_s + by_s)

    def scaled(self, factor: float) -> StepSeries:
        """Return the series with every value multiplied."""
        return StepSeries(self.start_s, self.value * factor, self.end_s)

    def map(self, function: Callable[[Floats], Floats]) -> StepSeries:
        """Return the series with an array function applied to its values."""
        return StepSeries(self.start_s, function(self.value), self.end_s)

    def times(self, other: StepSeries) -> StepSeries:
        """Return the product with a series of the same span, e.g. power by price."""
        edges = merged_edges([self, other])
        return StepSeries(edges, self.at(edges) * other.at(edges), self.end_s)

    def cut(self, from_s: float, to_s: float) -> StepSeries:
        """Return the part between two moments."""
        self.require(from_s, to_s)
        if to_s <= from_s:
            raise TraceError(f"nothing lies between {from_s:g} s and {to_s:g} s")
        inside = (self.start_s > from_s) & (self.start_s < to_s)
        starts = np.concatenate(([from_s], self.start_s[inside]))
        values = np.concatenate(([self.at(from_s)], self.value[inside]))
        return StepSeries(starts, values, to_s)

    def simplified(self) -> StepSeries:
        """Return the same function without changes that change nothing."""
        keep = np.ones(len(self), dtype=bool)
        keep[1:] = self.value[1:] != self.value[:-1]
        return StepSeries(self.start_s[keep], self.value[keep], self.end_s)

    def require(self, from_s: float, to_s: float, name: str = "the series") -> None:
        """Refuse a span that the series does not cover; the message names both spans."""
        if from_s < self.begin_s or to_s > self.end_s:
            raise TraceError(
                f"{name} covers {_span(self.begin_s, self.end_s)}, but {_span(from_s, to_s)} is needed"
            )

    def _position(self, moment_s: float) -> int:
        """Which step holds at one moment; the short way, for readers on the clock."""
        # Written so that NaN is refused too.
        if not self.begin_s <= moment_s <= self.end_s:
            raise self._outside(moment_s, moment_s)
        return int(self.start_s.searchsorted(moment_s, "right")) - 1

    def _positions(self, moments_s: Floats) -> NDArray[np.intp]:
        """Which step holds at each of many moments."""
        if not moments_s.size:
            return np.zeros(0, dtype=np.intp)
        least, most = float(moments_s.min()), float(moments_s.max())
        if not (least >= self.begin_s and most <= self.end_s):
            raise self._outside(least, most)
        return self.start_s.searchsorted(moments_s, "right") - 1

    def _outside(self, from_s: float, to_s: float) -> TraceError:
        return TraceError(
            f"the series covers {_span(self.begin_s, self.end_s)}, but {_span(from_s, to_s)} is needed"
        )

    def _until(self, moment_s: float) -> float:
        """Integral from the beginning to one moment."""
        index = self._position(moment_s)
        before, value, start_s = self._integral_before[index], self.value[index], self.start_s[index]
        return float(before + value * (moment_s - start_s))

    def _held(self, from_s: float | None, to_s: float | None) -> Floats:
        from_s = self.begin_s if from_s is None else from_s
        to_s = self.end_s if to_s is None else to_s
        if to_s < from_s:
            raise TraceError(f"a span from {from_s:g} s back to {to_s:g} s")
        first = self._position(from_s)
        self.require(from_s, to_s)
        # A value that begins exactly at the end of the span is not held within it.
        stop = int(np.searchsorted(self.start_s, to_s, side="left"))
        return self.value[first : max(stop, first + 1)]


def merged_edges(parts: Sequence[StepSeries]) -> Floats:
    """Return all moments at which any of the series changes, for series of one span.

    Raises
    ------
    TraceError
        The spans differ; the message names two of them.
    """
    first = parts[0]
    for index, part in enumerate(parts):
        if part.begin_s != first.begin_s or part.end_s != first.end_s:
            raise TraceError(
                f"series 0 covers {_span(first.begin_s, first.end_s)}, "
                f"but series {index} covers {_span(part.begin_s, part.end_s)}"
            )
    return np.unique(np.concatenate([part.start_s for part in parts]))


def _check(starts: Floats, values: Floats, end_s: float) -> None:
    if starts.ndim != 1 or values.ndim != 1 or starts.size != values.size:
        raise TraceError(f"{starts.size} starts for {values.size} values; each value needs its start")
    if not starts.size:
        raise TraceError("a series needs at least one value")
    for what, array in (("starts", starts), ("values", values)):
        wrong = ~np.isfinite(array)
        if wrong.any():
            raise TraceError(f"{what} not finite at indexes {_indexes(wrong)}")
    falling = starts[1:] <= starts[:-1]
    if falling.any():
        raise TraceError(f"starts not strictly increasing at indexes {_indexes(falling, 1)}")
    # An endless series is one whose last value simply holds.
    if not end_s > starts[-1]:
        raise TraceError(f"the series ends at {end_s:g} s, not after its last start at {starts[-1]:g} s")


def _read_only(data: ArrayLike) -> Floats:
    array = np.asarray(data, dtype=np.float64)
    if array is data and not array.flags.writeable and array.flags.owndata:
        return array
    return _frozen(np.array(array))


def _frozen(array: Floats) -> Floats:
    array.setflags(write=False)
    return array


def _indexes(wrong: Truths, offset: int = 0) -> str:
    found = np.flatnonzero(wrong) + offset
    listed = " ".join(str(index) for index in found[:8])
    return f"[{listed}{' ...' if found.size > 8 else ''}]"


def _span(from_s: float, to_s: float) -> str:
    return f"{from_s:g} s to {to_s:g} s"
