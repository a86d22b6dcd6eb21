"""A text column as small numbers and the names they stand for: what repeats is held once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray


class CodedText(Sequence[str]):
    """Reads like a list of texts.

    Parameters
    ----------
    codes
        (n,) int - positions in `names`.
    names
        Each text once.

    Examples
    --------
    >>> list(CodedText(np.array([1, 0, 1]), ("ok", "shed")))
    ['shed', 'ok', 'shed']
    """

    def __init__(self, codes: NDArray[np.integer], names: Sequence[str]) -> None:
        self.codes = codes
        self.names = tuple(names)

    @classmethod
    def constant(cls, text: str, count: int) -> CodedText:
        """Return a column that says the same in every row."""
        return cls(np.zeros(count, dtype=np.int8), (text,))

    @classmethod
    def joined(cls, parts: Sequence[CodedText]) -> CodedText:
        """Return columns one after the other."""
        names = tuple(dict.fromkeys(name for part in parts for name in part.names))
        place = {name: code for code, name in enumerate(names)}
        codes = [np.array([place[name] for name in part.names], np.int32)[part.codes] for part in parts]
        return cls(np.concatenate(codes), names)

    def equals(self, *texts: str) -> NDArray[np.bool_]:
        """Return for each row whether it says one of these texts."""
        found: NDArray[np.bool_] = np.array([name in texts for name in self.names])[self.codes]
        return found

    def __len__(self) -> int:
        """Rows."""
        return len(self.codes)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> CodedText: ...

    def __getitem__(self, index: int | slice) -> str | CodedText:
        """Return one text, or some rows."""
        if isinstance(index, slice):
            return CodedText(self.codes[index], self.names)
        return self.names[int(self.codes[index])]

    def __iter__(self) -> Iterator[str]:
        """Give the texts one by one."""
        names = self.names
        return (names[code] for code in self.codes.tolist())

    def __eq__(self, other: object) -> bool:
        """Whether another column, or a list, says the same in every row."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
