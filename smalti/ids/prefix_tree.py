"""The tree (trie) of all prefixes of a set of IDs.

A node of depth d is a prefix of d codes that at least one item has. The nodes of a depth are
numbered in the order of their codes, so the children of a node, and all items below it, lie next
to each other. A level is one sorted array of the keys

    key = parent · K + code

and the number of a node is the place of its key: a million items take three arrays and a few
milliseconds per lookup, of as many prefixes at once as are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from smalti.errors import InputError

__all__ = [
    "MOST_CODES",
    "MOST_ITEMS",
    "PrefixTree",
    "check_codes",
    "check_codebook_sizes",
    "count_ids_below",
]

MOST_CODES = 2**31  # of a level: its codes are int32
MOST_ITEMS = 2**31 - 1


class PrefixTree:
    """The tree of all prefixes of N IDs of L codes each: next codes, and items below a prefix.

    Arguments:
        codes: (N, L), integers; several items may have the same.
        codebook_sizes: K of each of the L levels.

    Attributes:
        keys: For each level, the sorted keys of its nodes.
        counts: For each level, the number of items below each node.
        leaves: (N,), the number of each item's leaf node.

    Raises:
        InputError: If a code is out of range, or there are not as many levels as sizes.

    Example:
        >>> tree = PrefixTree([[3, 9], [3, 1], [0, 9], [3, 9]], (4, 10))
        >>> tree.allowed([]).tolist(), tree.allowed([3]).tolist()
        ([0, 3], [1, 9])
        >>> tree.rows([3]).tolist(), tree.rows([3, 9]).tolist()
        ([1, 0, 3], [0, 3])
    """

    def __init__(self, codes: Any, codebook_sizes: Sequence[int]) -> None:
        self.codebook_sizes = check_codebook_sizes(codebook_sizes)
        array = check_codes(codes, self.codebook_sizes)
        self.keys: list[np.ndarray] = []
        self.counts: list[np.ndarray] = []
        nodes = np.zeros(len(array), np.int64)
        for level, size in enumerate(self.codebook_sizes):
            keys, nodes, counts = np.unique(
                nodes * size + array[:, level], return_inverse=True, return_counts=True
            )
            self.keys.append(keys)
            self.counts.append(counts)
        self.leaves = nodes
        self._order: np.ndarray | None = None

    def __len__(self) -> int:
        """Returns the number of items."""
        return len(self.leaves)

    @property
    def levels(self) -> int:
        """Returns L."""
        return len(self.codebook_sizes)

    def find(self, prefixes: np.ndarray) -> np.ndarray:
        """Returns the indices of the nodes of prefixes (M, d): (M,), -1 where no item has it."""
        nodes = np.zeros(len(prefixes), np.int64)
        for level in range(prefixes.shape[1]):
            keys, size = self.keys[level], self.codebook_sizes[level]
            wanted = nodes * size + prefixes[:, level]
            places = np.minimum(np.searchsorted(keys, wanted), max(0, len(keys) - 1))
            there = keys[places] == wanted if len(keys) else np.zeros(len(wanted), bool)
            nodes = np.where(there & (nodes >= 0), places, -1)
        return nodes

    def children(self, nodes: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the first child of each node of a depth, and the one after its last.

        Arguments:
            nodes: (M,); -1 has no children.
            depth: Depth of the nodes, 0 for the root, below L.
        """
        keys, size = self.keys[depth], self.codebook_sizes[depth]
        first, after = (
            np.searchsorted(keys, nodes * size),
            np.searchsorted(keys, (nodes + 1) * size),
        )
        return first, np.where(nodes < 0, first, after)

    def codes_of(self, nodes: np.ndarray, depth: int) -> np.ndarray:
        """Returns the last codes of nodes (M,) of a depth of 1 or more."""
        return self.keys[depth - 1][nodes] % self.codebook_sizes[depth - 1]

    def allowed(self, prefix: Sequence[int]) -> np.ndarray:
        """Returns the codes that may follow a prefix, in order; none after a whole ID.

        Raises:
            InputError: If no item has the prefix, or it is too long.
        """
        node = self._node(prefix)
        if len(prefix) == self.levels:
            return np.zeros(0, np.int64)
        first, after = self.children(np.array([node]), len(prefix))
        return self.codes_of(np.arange(first[0], after[0]), len(prefix) + 1)

    def count(self, prefix: Sequence[int]) -> int:
        """Returns how many items have a prefix; 0 where none has."""
        (node,) = self.find(np.array([self._checked(prefix)], np.int64))
        if node < 0 or not len(prefix):
            return 0 if node < 0 else len(self)
        return int(self.counts[len(prefix) - 1][node])

    def rows(self, prefix: Sequence[int]) -> np.ndarray:
        """Returns the indices of the items below a prefix, in the order of their IDs.

        Raises:
            InputError: If no item has the prefix, or it is too long.
        """
        if not len(prefix):
            return self._items()
        first = self._node(prefix)
        after = first + 1
        for level in range(len(prefix), self.levels):
            size = self.codebook_sizes[level]
            first, after = np.searchsorted(self.keys[level], [first * size, after * size])
        ends = np.cumsum(self.counts[-1])
        return self._items()[ends[first - 1] if first else 0 : ends[after - 1]]

    def _items(self) -> np.ndarray:
        """Returns the indices of all items, ordered by their IDs."""
        if self._order is None:
            self._order = np.argsort(self.leaves, kind="stable")
        return self._order

    def _checked(self, prefix: Sequence[int]) -> list[int]:
        """Returns a prefix as integers; raises `InputError` if it is too long or out of range."""
        codes, sizes = [int(code) for code in prefix], self.codebook_sizes
        if len(codes) > len(sizes):
            raise InputError(
                f"An ID has {len(sizes)} codes, got {len(codes)}: {_shown(codes)}; give the first "
                f"of them."
            )
        for level, (code, size) in enumerate(zip(codes, sizes, strict=False), start=1):
            if not 0 <= code < size:
                raise InputError(
                    f"Code {level} of an ID lies between 0 and {size - 1}, got {code} in "
                    f"{_shown(codes)}: correct it."
                )
        return codes

    def _node(self, prefix: Sequence[int]) -> int:
        """Returns the number of a prefix's node; raises `InputError` where there is none."""
        codes = self._checked(prefix)
        (node,) = self.find(np.array([codes], np.int64).reshape(1, len(codes)))
        if node >= 0:
            return int(node)
        depth = next(d for d in range(len(codes)) if not self.count(codes[: d + 1]))
        near = self.allowed(codes[:depth])
        offered = sorted(near[np.argsort(abs(near - codes[depth]), kind="stable")[:3]].tolist())
        names = " or ".join(_shown([*codes[:depth], code]) for code in offered)
        raise InputError(f"No item has the prefix {_shown(codes)}: try {names}.")


def check_codebook_sizes(codebook_sizes: Sequence[int]) -> tuple[int, ...]:
    """Checks that codebook sizes are in range and not empty, and returns them as a tuple."""
    sizes = tuple(map(int, codebook_sizes))
    if not sizes or min(sizes) < 1 or max(sizes) > MOST_CODES:
        raise InputError(
            f"An ID has at least one level, each of 1 to 2³¹ codes, got {sizes}: take smaller "
            f"codebooks, and more of them."
        )
    return sizes


def check_codes(codes: Any, codebook_sizes: tuple[int, ...]) -> np.ndarray:
    """Checks the codes (N, L) of IDs, and returns them as int32.

    Raises:
        InputError: If they have another shape or type, or one is out of range.
    """
    try:
        array = np.asarray(codes)
    except ValueError as error:  # rows of several lengths
        raise InputError(
            f"Codes are a table (N, {len(codebook_sizes)}), got rows of several lengths: give one "
            f"row per item."
        ) from error
    if not array.size:
        array = array.reshape(0, len(codebook_sizes)).astype(np.int64)
    if array.ndim != 2 or array.shape[1] != len(codebook_sizes):
        raise InputError(
            f"Codes are a table (N, {len(codebook_sizes)}) here, a column per level, got the shape "
            f"{array.shape}: give one row per item."
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"Codes are integers, got {array.dtype}: give those that encode gave.")
    if len(array) > MOST_ITEMS:
        raise InputError(f"A table has at most 2³¹ - 1 items, got {len(array)}: divide it.")
    for level, size in enumerate(codebook_sizes):
        column = array[:, level]
        if len(column) and not 0 <= int(column.min()) <= int(column.max()) < size:
            low, high = int(column.min()), int(column.max())
            raise InputError(
                f"Codes of level {level + 1} lie between 0 and {size - 1}, got {low} to {high}: "
                f"give the codebook sizes that they were made with."
            )
    return array.astype(np.int32)


def count_ids_below(codebook_sizes: Sequence[int], depth: int) -> int:
    """Counts the possible IDs below a prefix of `depth` codes; 2⁶² if there are more.

    Example:
        >>> count_ids_below((256, 256, 256), 1)
        65536
    """
    return min(math.prod(codebook_sizes[depth:]), 2**62)


def _shown(codes: Sequence[int]) -> str:
    return ",".join(map(str, codes))
