"""Named random streams: the same seed and name give the same numbers, whoever else draws."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Scalars are drawn this many at a time; one call of numpy costs as much as hundreds of numbers.
_BLOCK: Final = 1024


class Streams:
    """The random streams of one run, each named after the entity that draws from it.

    Parameters
    ----------
    seed
        The scenario's seed. Policies under one seed meet the same arrivals and failures, because
        no stream depends on what another one has drawn.
    """

    def __init__(self, seed: int) -> None:
        if seed < 0:
            raise ValueError(f"a seed is not negative, but is {seed}")
        self.seed = seed

    def stream(self, name: str) -> np.random.Generator:
        """Return a fresh generator for a name; asking twice begins the same numbers again."""
        digest = blake2b(name.encode(), digest_size=16).digest()
        sequence = np.random.SeedSequence(entropy=[self.seed, int.from_bytes(digest, "little")])
        return np.random.Generator(np.random.PCG64(sequence))

    def block(self, name: str) -> BlockStream:
        """Return a cheap source of single numbers for a name."""
        return BlockStream(self, name)


class BlockStream:
    """Single random numbers, drawn in blocks.

    Each kind of number has its own stream, so drawing a normal never shifts the exponentials.
    """

    __slots__ = ("_exponentials", "_name", "_normals", "_streams", "_uniforms")

    def __init__(self, streams: Streams, name: str) -> None:
        self._streams = streams
        self._name = name
        self._exponentials: _Block | None = None
        self._uniforms: _Block | None = None
        self._normals: _Block | None = None

    def exponential(self, mean: float) -> float:
        """Return an exponential number with the given mean, in the mean's unit."""
        if self._exponentials is None:
            self._exponentials = _Block(self._stream("exponential").standard_exponential)
        return mean * self._exponentials.next()

    def uniform(self) -> float:
        """Return a uniform number in [0, 1)."""
        if self._uniforms is None:
            self._uniforms = _Block(self._stream("uniform").random)
        return self._uniforms.next()

    def normal(self) -> float:
        """Return a standard normal number."""
        if self._normals is None:
            self._normals = _Block(self._stream("normal").standard_normal)
        return self._normals.next()

    def _stream(self, kind: str) -> np.random.Generator:
        return self._streams.stream(f"{self._name}/{kind}")

    def below(self, count: int) -> int:
        """Return a whole number in 0 .. count - 1, each equally likely."""
        return min(int(self.uniform() * count), count - 1)


class _Block:
    """A list of numbers that refills itself."""

    __slots__ = ("_draw", "_left")

    def __init__(self, draw: Callable[[int], NDArray[np.float64]]) -> None:
        self._draw = draw
        self._left: list[float] = []

    def next(self) -> float:
        if not self._left:
            # Reversed, so that popping from the end keeps the order of drawing.
            self._left = self._draw(_BLOCK)[::-1].tolist()
        return self._left.pop()
