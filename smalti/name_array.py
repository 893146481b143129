"""Names of many examples in one array: a Python text for each would take ten times as much."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["NameArray"]

CHUNK = 65_536  # names that are Python's at a time


class NameArray(Sequence[str]):
    """N names, each made a Python text when it is asked for.

    Arguments:
        array: (N,), of text, none of it missing.

    Example:
        >>> names = NameArray.joined([["cup", "mug"], NameArray.numbered(3, "row ")])
        >>> len(names), names[1], names[-1], list(names.take(np.array([3, 0])))
        (5, 'mug', 'row 2', ['row 1', 'cup'])
    """

    def __init__(self, array: pa.Array | pa.ChunkedArray) -> None:
        whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        self.array = whole.cast(pa.large_string())

    @classmethod
    def numbered(cls, n: int, prefix: str = "") -> NameArray:
        """Returns the names of n rows: their numbers from 0, after a prefix."""
        numbers = pa.array(np.arange(n)).cast(pa.large_string())
        if not prefix:
            return cls(numbers)
        text = pa.large_string()
        joined = pc.binary_join_element_wise(pa.scalar(prefix, text), numbers, pa.scalar("", text))
        return cls(joined)

    @classmethod
    def joined(cls, parts: Sequence[Sequence[str]]) -> NameArray:
        """Returns the names of several parts, one after another."""
        arrays = [
            part.array if isinstance(part, NameArray) else pa.array(part, pa.large_string())
            for part in parts
        ]
        return cls(pa.chunked_array(arrays, pa.large_string()))

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> NameArray: ...

    def __getitem__(self, place: int | slice) -> str | NameArray:
        if isinstance(place, slice):
            return NameArray(self.array[place])
        return str(self.array[int(place)].as_py())

    def __iter__(self) -> Iterator[str]:
        starts = range(0, len(self.array), CHUNK)
        parts = (self.array[start : start + CHUNK].to_pylist() for start in starts)
        return itertools.chain.from_iterable(parts)

    def to_arrow(self) -> pa.Array:
        """Returns them as they are written: of the type string, unless they are too many for it."""
        return self.array.cast(pa.string()) if self.array.nbytes < 2**31 else self.array

    def repeated(self, known: Sequence[NameArray] = ()) -> np.ndarray:
        """Returns the rows whose name is in an earlier row or among those that are `known`.

        Example:
            >>> NameArray.joined([["a", "b", "a", "1"]]).repeated([NameArray.numbered(2)]).tolist()
            [2, 3]
        """
        again = np.zeros(len(self), dtype=bool)
        if pc.count_distinct(self.array).as_py() < len(self):
            numbers = self.array.dictionary_encode().indices.to_numpy(zero_copy_only=False)
            again[:] = True
            again[np.unique(numbers, return_index=True)[1]] = False
        for others in known:
            again |= pc.is_in(self.array, value_set=others.array).to_numpy(zero_copy_only=False)
        return np.flatnonzero(again)

    def take(self, rows: np.ndarray) -> NameArray:
        """Returns the names of these rows (K,), whole numbers."""
        return NameArray(self.array.take(pa.array(rows)))
