"""Resolves collisions: several items to which the tokenizer gives the same codes.

    "index"     a further code numbers the items that share an ID: (3, 9, 1, 0), (3, 9, 1, 1) …
                (TIGER). Nothing is lost, and every ID is one code longer.
    "nearest"   the item that is nearest to the codes keeps them, and each other one moves to the
                nearest codes that are free. It keeps its prefix where it can: only if all codes
                below a prefix are taken, the last code of the prefix changes too.
    "none"      items share an ID.

Resolving is stable: what is resolved against a table of IDs that are given already leaves those as
they are, whatever comes later. So a catalogue can grow.

References:
    Recommender Systems with Generative Retrieval, S. Rajput et al., 2023, arXiv 2305.05065.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from smalti.counting import counted
from smalti.errors import InputError
from smalti.ids.nearest_free import CodeSpace, nearest_free_codes
from smalti.ids.prefix_tree import PrefixTree, check_codebook_sizes, check_codes, count_ids_below

__all__ = [
    "COLLISIONS",
    "Collisions",
    "GivenIds",
    "ResolvedIds",
    "check_collisions",
    "check_enough_ids",
    "resolve_collisions",
]

Collisions = Literal["index", "nearest", "none"]
SEARCHED = 1 << 20  # codes of a level that are compared with every item
COLLISIONS: tuple[str, ...] = get_args(Collisions)


class GivenIds(NamedTuple):
    """The IDs of M earlier items, which do not change when new items get IDs.

    Attributes:
        own: (M, Q), the codes that the tokenizer gave each item.
        codes: (M, L), the codes of its ID.
    """

    own: np.ndarray
    codes: np.ndarray


class ResolvedIds(NamedTuple):
    """The IDs of N new items, after collisions were resolved.

    Attributes:
        codes: The codes of the IDs (N, L), int32; L is Q + 1 with "index", else Q.
        codebook_sizes: K of each of the L levels.
    """

    codes: np.ndarray
    codebook_sizes: tuple[int, ...]


def check_collisions(collisions: str) -> None:
    """Raises `InputError` unless `collisions` is "index", "nearest" or "none"."""
    if collisions not in COLLISIONS:
        raise InputError(
            f"Collisions are resolved by one of {', '.join(COLLISIONS)}, got {collisions!r}: "
            f"index adds a code, nearest takes the nearest free ID, none leaves them."
        )


def check_enough_ids(items: int, codebook_sizes: Sequence[int], collisions: str) -> None:
    """Raises `InputError` unless there are enough IDs for a number of items.

    Raises:
        InputError: If each is to have the nearest free ID, and there are not so many, or codebooks
            are too large to be searched.
    """
    sizes = check_codebook_sizes(codebook_sizes)
    if collisions != "nearest":
        return
    if max(sizes) > SEARCHED:
        raise InputError(
            f"The nearest free ID is looked for in codebooks of at most 2²⁰ codes, got "
            f"{max(sizes)}: resolve collisions by index."
        )
    if items > (room := count_ids_below(sizes, 0)):
        raise InputError(
            f"{counted(items, 'item')} cannot have an ID each of {counted(room, 'ID')}: raise "
            f"codebook_size, add a level, or resolve collisions by index."
        )


def resolve_collisions(
    own: np.ndarray,
    codebook_sizes: Sequence[int],
    collisions: str = "index",
    *,
    given: GivenIds | None = None,
    space: CodeSpace | None = None,
    min_index_size: int = 0,
) -> ResolvedIds:
    """Makes the IDs of N items from their codes, and resolves collisions as `collisions` says.

    Arguments:
        own: (N, Q), the codes that the tokenizer gave each item.
        codebook_sizes: K of each of the Q levels.
        collisions: What makes IDs of items with equal codes differ: "index" adds a further code,
            "nearest" takes the nearest free codes, "none" leaves them equal.
        given: The IDs of earlier items, made in the same way, which do not change.
        space: Maps codes and items to vectors; "nearest" needs it.
        min_index_size: With "index", the least codebook size of the further level. Default: that
            of the last level.

    Raises:
        InputError: If codes are out of range, or there are more items than IDs.

    Example:
        >>> resolve_collisions(np.array([[3, 1], [3, 1], [0, 2]]), (4, 4)).codes.tolist()
        [[3, 1, 0], [3, 1, 1], [0, 2, 0]]
    """
    check_collisions(collisions)
    sizes = check_codebook_sizes(codebook_sizes)
    own = check_codes(own, sizes)
    width = len(sizes) + (collisions == "index")
    given = given or GivenIds(np.zeros((0, len(sizes)), np.int32), np.zeros((0, width), np.int32))
    if collisions == "none":
        return ResolvedIds(own, sizes)
    if collisions == "index":
        numbers = _numbers(own, sizes, given)
        needed = 1 + int(max(numbers.max(initial=0), given.codes[:, -1].max(initial=0)))
        further = max(needed, min_index_size or sizes[-1])
        return ResolvedIds(np.column_stack([own, numbers]), (*sizes, further))
    if space is None:
        raise InputError(
            "The nearest free ID is looked for among the vectors of codes, got none: give space, "
            "or resolve collisions by index."
        )
    check_enough_ids(len(own) + len(given.codes), sizes, collisions)
    return ResolvedIds(_moved(own, sizes, given, space), sizes)


def _numbers(own: np.ndarray, sizes: tuple[int, ...], given: GivenIds) -> np.ndarray:
    """Numbers the items of the same codes (N,), after those that have a number already."""
    tree = PrefixTree(np.concatenate([given.own, own]), sizes)
    before, leaves = tree.leaves[: len(given.own)], tree.leaves[len(given.own) :]
    first = np.zeros(len(tree.counts[-1]), np.int64)
    np.maximum.at(first, before, given.codes[:, -1].astype(np.int64) + 1)
    return (first[leaves] + _ranks(leaves)).astype(np.int32)


def _ranks(groups: np.ndarray) -> np.ndarray:
    """Numbers the members of each group (N,) in their order."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    ranks = np.empty(len(groups), np.int64)
    ranks[order] = np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))
    return ranks


def _moved(
    own: np.ndarray, sizes: tuple[int, ...], given: GivenIds, space: CodeSpace
) -> np.ndarray:
    """Returns IDs (N, Q): an item's own codes, or the nearest that are free."""
    taken = PrefixTree(given.codes, sizes)
    free = taken.find(own) < 0
    keeps = free & (_ranks_by_distance(own, sizes, free, space) == 0)
    codes, rows = own.copy(), np.flatnonzero(~keeps)
    if len(rows):
        occupied = np.concatenate([given.codes, own[keeps]])
        codes[rows] = nearest_free_codes(own[rows], sizes, occupied, space.of(rows))
    return codes


def _ranks_by_distance(
    own: np.ndarray, sizes: tuple[int, ...], free: np.ndarray, space: CodeSpace
) -> np.ndarray:
    """Numbers the items of the same codes (N,), the nearest first; of equals the first."""
    tree = PrefixTree(own, sizes)
    shared = np.flatnonzero(free & (tree.counts[-1][tree.leaves] > 1))
    distances = np.zeros(len(own), np.float32)
    distances[shared] = space.distances(shared, own[shared])
    order = np.lexsort((distances, tree.leaves))
    ranks = np.empty(len(own), np.int64)
    ranks[order] = _ranks(tree.leaves[order])
    return ranks
