"""Groups items by the first q of their codes, and reads their vectors, for measurements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from smalti.modalities.vector.signal import Vector
from smalti.reporting.measurement import Subject

__all__ = [
    "Groups",
    "iterate_vectors",
    "groups_by_prefix",
    "prefix_in_words",
    "read_vectors_at",
    "why_no_codes",
]

CHUNK = 8192  # vectors in memory at a time


class Groups(NamedTuple):
    """N items in G groups of items with the same prefix of codes.

    Attributes:
        group_of: (N,), int64: the index of each item's group, in the order of the prefixes.
        first: (G,), the index of one item in each group.
        sizes: (G,), the number of items in each group.
    """

    group_of: np.ndarray
    first: np.ndarray
    sizes: np.ndarray


def groups_by_prefix(codes: Tensor) -> list[Groups]:
    """Groups items by their first code, by their first two, and so on: Q groupings.

    Arguments:
        codes: (N, Q), integers from 0 on.

    Example:
        >>> one, two = groups_by_prefix(torch.tensor([[0, 1], [0, 2], [5, 1], [0, 1]]))
        >>> one.group_of.tolist(), two.group_of.tolist(), two.sizes.tolist()
        ([0, 0, 1, 0], [0, 1, 2, 0], [2, 1, 1])
    """
    columns = codes.numpy().astype(np.int64).T
    found, of = [], np.zeros(len(codes), dtype=np.int64)
    for column in columns:
        keys = of * (int(column.max(initial=0)) + 1) + column
        _, first, of, sizes = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        of = of.reshape(-1)
        found.append(Groups(of, first, sizes))
    return found


def prefix_in_words(q: int) -> str:
    """Says how many codes a prefix has.

    Example:
        >>> prefix_in_words(1), prefix_in_words(3)
        ('first code', 'first 3 codes')
    """
    return "first code" if q == 1 else f"first {q} codes"


def why_no_codes(subject: Subject) -> str | None:
    """Returns the reason why a model does not encode vectors to codes; `None` if it does."""
    if not isinstance(subject.splits.signal, Vector):
        return "the data are no vectors."
    return subject.without_codes


def iterate_vectors(subject: Subject) -> Iterator[Tensor]:
    """Yields the vectors of all splits, training first, in chunks (n, d)."""
    for part in subject.splits[:3]:
        for start in range(0, len(part), CHUNK):
            yield part.__getitems__(range(start, min(start + CHUNK, len(part)))).x


def read_vectors_at(subject: Subject, rows: np.ndarray) -> Tensor:
    """Returns the vectors (n, d) of items, numbered through all splits, training first."""
    parts = subject.splits[:3]
    starts = np.cumsum([0, *map(len, parts)])
    of_part = np.searchsorted(starts, rows, side="right") - 1
    x = torch.zeros(len(rows), subject.splits.signal.channels)
    for place, part in enumerate(parts):
        mine = np.flatnonzero(of_part == place)
        if len(mine):
            x[torch.from_numpy(mine)] = part.__getitems__((rows[mine] - starts[place]).tolist()).x
    return x
