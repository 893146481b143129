"""Measures how items are distributed over codes and IDs.

All are of a whole set at once. In a batch hardly two items share an ID, however bad the IDs are,
so a mean over batches says nothing.

Of a level with K codes, of which code k is chosen n_k times, n_1 ≤ … ≤ n_K, Σ n_k = N:

    entropy     −Σ p_k log₂ p_k, p_k = n_k / N          at most log₂ min(K, N)
    Gini        Σ (2k − K − 1) n_k / (K N)              0 where all are chosen as often, near 1
                                                        where few have all
    dead        share of codes that no item has

Of a depth d, the first d codes:

    alone       share of items whose prefix no other has
    largest     most items with one prefix
    pairs       pairs of items with the same prefix
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smalti.ids.prefix_tree import PrefixTree

__all__ = ["PrefixUsage", "Occupancy", "LevelUsage", "occupancy"]


@dataclass(frozen=True)
class LevelUsage:
    """How often the codes of one level are used.

    Attributes:
        codebook_size: K.
        used: The number of codes that at least one item has.
        entropy: Entropy of the codes in bits, at most log₂ K.
        gini: Gini coefficient of the counts of the codes: 0 if all are used equally, near 1 if a
            few codes have nearly all items.
    """

    codebook_size: int
    used: int
    entropy: float
    gini: float

    @property
    def dead(self) -> float:
        """Returns the share of codes that no item has."""
        return 1 - self.used / self.codebook_size


@dataclass(frozen=True)
class PrefixUsage:
    """How N items share prefixes of one length.

    Attributes:
        prefixes: Number of different prefixes.
        alone: Share of the items that share their prefix with no other, in [0, 1].
        largest: Number of items with the most common prefix.
        pairs: Number of pairs of items with the same prefix.
    """

    prefixes: int
    alone: float
    largest: int
    pairs: int


@dataclass(frozen=True)
class Occupancy:
    """How evenly N items use the IDs of L codes.

    Attributes:
        items: N.
        levels: How the codes of each level are used.
        depths: How items share prefixes of each length, from one code to the whole ID.
    """

    items: int
    levels: tuple[LevelUsage, ...]
    depths: tuple[PrefixUsage, ...]

    @property
    def per_item(self) -> float:
        """Returns the number of different IDs over that of items."""
        return self.depths[-1].prefixes / self.items

    @property
    def alone(self) -> float:
        """Returns the share of items with an ID of their own."""
        return self.depths[-1].alone

    @property
    def largest(self) -> int:
        """Returns how many items have one ID, at most."""
        return self.depths[-1].largest


def occupancy(tree: PrefixTree) -> Occupancy:
    """Measures how evenly items use codes, and how many share an ID.

    Arguments:
        tree: The prefixes of the IDs; of at least one item.

    Example:
        >>> used = occupancy(PrefixTree([[0, 0], [0, 0], [0, 1], [1, 1]], (2, 4)))
        >>> used.per_item, used.alone, used.largest
        (0.75, 0.5, 2)
        >>> [(level.used, level.dead, round(level.entropy, 2)) for level in used.levels]
        [(2, 0.0, 0.81), (2, 0.5, 1.0)]
    """
    n = len(tree)
    levels = []
    for level, size in enumerate(tree.codebook_sizes):
        codes, places = np.unique(tree.keys[level] % size, return_inverse=True)
        counts = np.sort(np.bincount(places, tree.counts[level], len(codes)))
        levels.append(_used(counts, size, n))
    depths = tuple(_depth(counts, n) for counts in tree.counts)
    return Occupancy(n, tuple(levels), depths)


def _used(counts: np.ndarray, size: int, n: int) -> LevelUsage:
    """Measures a level by how often each code that is used is chosen, in rising order."""
    share = counts / n
    entropy = max(0.0, float(-(share * np.log2(share)).sum()))
    # Those that are never chosen come first, and add nothing but their number.
    ranks = np.arange(size - len(counts) + 1, size + 1, dtype=np.float64)
    gini = float(((2 * ranks - size - 1) * counts).sum() / (size * n))
    return LevelUsage(size, len(counts), entropy, gini)


def _depth(counts: np.ndarray, n: int) -> PrefixUsage:
    counts = counts.astype(np.int64)
    pairs = int((counts * (counts - 1) // 2).sum())
    return PrefixUsage(len(counts), float((counts == 1).sum() / n), int(counts.max()), pairs)
