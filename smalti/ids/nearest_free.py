"""Finds the nearest free ID of an item whose own codes are taken.

An item stays below the longest prefix of its codes that has room. There it goes down level by
level: of the children that have room it takes the nearest, by the distance of its vector to the
vector of the codes so far. Where several items want what there is not enough of, the nearest get
it, and the others choose again.

Where codes are sums of what each level gives (residual and product quantizers), the vectors of a
level's codes differ from prefix to prefix by the prefix alone. Then one table of K vectors serves
all items; otherwise the codes below each prefix are decoded, once for all items below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from smalti.ids.prefix_tree import PrefixTree, count_ids_below

__all__ = ["CodeSpace", "nearest_free_codes"]

ENTRIES = 1 << 22  # distances, or numbers of a table of vectors, in memory at a time
WIDTH = 128  # numbers of a vector, by which tables are sized where vectors are no wider
PIECE = 1 << 16  # codes that are decoded at a time
NUMBERS = PIECE * WIDTH  # of their vectors: fewer of wide ones are
PROBES = 8  # prefixes that show whether vectors are sums
PATIENCE = 6  # rounds, after which items of a crowd spread out


@dataclass(frozen=True)
class CodeSpace:
    """Maps codes and items to vectors, whose distances say which free codes are nearest.

    Arguments:
        decode: Maps the first q ≤ Q codes (n, q) of IDs to vectors (n, D).
        vectors: Maps indices of items (n,) to their encoded vectors (n, D). If not given, the
            vector of an item is that to which its own codes are decoded.
        chosen: Indices of the items that need IDs; all items if not given.
    """

    decode: Callable[[Tensor], Tensor]
    vectors: Callable[[Tensor], Tensor] | None = None
    chosen: np.ndarray | None = None

    def of(self, rows: np.ndarray) -> CodeSpace:
        """Returns the same space with some of its items alone, by their indices."""
        return replace(self, chosen=rows if self.chosen is None else self.chosen[rows])

    def items(self, rows: np.ndarray, own: np.ndarray) -> Tensor:
        """Returns the vectors (n, D) of items by their indices, whose own codes are (n, Q)."""
        if self.vectors is None:
            return self.decode(torch.from_numpy(own.astype(np.int64))).float()
        rows = rows if self.chosen is None else self.chosen[rows]
        return self.vectors(torch.from_numpy(rows.astype(np.int64))).float()

    def at_once(self, codes: np.ndarray) -> int:
        """Returns how many of the codes (n, q) have vectors that are in memory at a time."""
        return max(1, min(PIECE, NUMBERS // max(1, self.width(codes))))

    def width(self, codes: np.ndarray) -> int:
        """Returns D, how many numbers a vector has."""
        return int(self.decode(torch.from_numpy(codes[:1].astype(np.int64))).shape[1])

    def distances(self, rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Returns the squared distances (n,) of items to the vectors of codes (n, Q)."""
        if self.vectors is None:
            return np.zeros(len(rows), np.float32)
        found = []
        for part in _pieces(len(rows), self.at_once(codes)):
            y = self.decode(torch.from_numpy(codes[part].astype(np.int64))).float()
            found.append((self.items(rows[part], codes[part]) - y).square().sum(1))
        return torch.cat(found).cpu().numpy() if found else np.zeros(0, np.float32)


def nearest_free_codes(
    own: np.ndarray, sizes: tuple[int, ...], occupied: np.ndarray, space: CodeSpace
) -> np.ndarray:
    """Finds for items whose own codes are taken the nearest free codes (N, Q).

    Arguments:
        own: (N, Q), the codes that the tokenizer gave the items.
        sizes: K of each level.
        occupied: (M, Q), the codes that are taken, each once.
        space: Maps the N items and codes to vectors.
    """
    codes, left = own.copy(), np.arange(len(own))
    placed = np.zeros(0, np.int64)
    for depth in reversed(range(len(sizes))):
        tree = PrefixTree(np.concatenate([occupied, codes[placed]]), sizes)
        found, rows = _below(tree, space, own, left, depth)
        codes[rows] = found
        placed, left = np.union1d(placed, rows), np.setdiff1d(left, rows)
        if not len(left):
            break
    return codes


def _below(
    tree: PrefixTree, space: CodeSpace, own: np.ndarray, rows: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Finds free codes below the first `depth` of items' own, for as many as there is room for.

    Returns:
        The codes (n, Q), and the indices of the items (n,).
    """
    prefixes = own[rows, :depth]
    while prefixes.shape[1] < tree.levels:
        chosen = _choose(tree, space, own, rows, prefixes)
        stay = chosen >= 0  # all of them on the levels below the first
        rows = rows[stay]
        prefixes = np.column_stack([prefixes[stay], chosen[stay]]).astype(np.int32)
    return prefixes, rows


def _choose(
    tree: PrefixTree, space: CodeSpace, own: np.ndarray, rows: np.ndarray, prefixes: np.ndarray
) -> np.ndarray:
    """Chooses the next code of each item below its prefix (n, d): (n,), -1 where no room is left.

    As many items choose a code as there are free IDs below it.
    """
    level = prefixes.shape[1]
    size, below = tree.codebook_sizes[level], count_ids_below(tree.codebook_sizes, level + 1)
    group, groups = _groups(prefixes, tree.codebook_sizes[:level])
    chosen = np.full(len(rows), -1, np.int64)
    added, width = _added(space, groups, size), space.width(own)
    at_once = max(1, min(ENTRIES // size, NUMBERS // width))
    for some, members in _chunks(group, size, None if added is not None else width):
        heads = groups[some]
        nodes = tree.find(heads)
        room = np.full((len(some), size), below, np.int64)
        first, after = tree.children(nodes, level)
        owner = np.repeat(np.arange(len(some)), after - first)
        children = _ranges(first, after)
        room[owner, tree.codes_of(children, level + 1)] -= tree.counts[level][children]
        table = _table(space, heads, size) if added is None else added
        in_chunk = np.searchsorted(some, group[members])
        for part in _pieces(len(members), at_once):
            piece = members[part]
            z = space.items(rows[piece], own[rows[piece]])
            if added is not None and level:
                z = z - space.decode(torch.from_numpy(prefixes[piece].astype(np.int64))).float()
            of = in_chunk[part] if added is None else np.zeros(len(piece), np.int64)
            chosen[piece] = _assign(_distances(z, table, of), in_chunk[part], room)
    return chosen


def _groups(prefixes: np.ndarray, sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the number of each prefix (n,) among the different ones, and those (G, d)."""
    if not sizes:
        return np.zeros(len(prefixes), np.int64), prefixes[:1]
    leaves = PrefixTree(prefixes, sizes).leaves
    _, first = np.unique(leaves, return_index=True)
    return leaves, prefixes[first]


def _chunks(
    group: np.ndarray, size: int, width: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields groups by their indices, and their members, as many at a time as memory allows.

    Arguments:
        group: (N,), the number of each item's group.
        size: K, codes of the level.
        width: D of the vectors of each group's table; `None` if one table serves all groups.
    """
    order = np.argsort(group, kind="stable")
    numbers, starts, counts = np.unique(group[order], return_index=True, return_counts=True)
    by_count = np.argsort(counts, kind="stable")  # alike in number, so that little is padded
    at_once = ENTRIES // size if width is None else ENTRIES // (size * max(WIDTH, width))
    begin = 0
    for end in range(1, len(by_count) + 1):
        last = end == len(by_count)
        padded = 0 if last else (end + 1 - begin) * counts[by_count[end]]
        if last or end - begin >= at_once or padded * size > ENTRIES:
            some = np.sort(by_count[begin:end])
            yield numbers[some], order[_ranges(starts[some], starts[some] + counts[some])]
            begin = end


def _pieces(n: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, n, step))


def _added(space: CodeSpace, heads: np.ndarray, size: int) -> Tensor | None:
    """Returns what each code of a level adds to the vector of any prefix, (1, K, D).

    `None` where that is not the same for a few of the prefixes (G, d).
    """
    probes = heads[np.linspace(0, len(heads) - 1, min(PROBES, len(heads))).astype(int)]
    if not heads.shape[1]:
        return _table(space, probes, size)
    tables = []
    for probe in probes:
        base = space.decode(torch.from_numpy(probe[None].astype(np.int64))).float()
        tables.append(_table(space, probe[None], size)[0] - base)
        scale = float(base.abs().max()) + float(tables[0].abs().max())
        if float((tables[-1] - tables[0]).abs().max()) > 1e-5 * scale:
            return None
    return tables[0][None]


def _table(space: CodeSpace, heads: np.ndarray, size: int) -> Tensor:
    """Returns the vectors (G, K, D) of the K codes that may follow each prefix (G, d)."""
    children = np.tile(np.arange(size), len(heads))[:, None]
    codes = np.concatenate([np.repeat(heads, size, axis=0), children], axis=1)
    parts = [
        space.decode(torch.from_numpy(codes[part].astype(np.int64))).float()
        for part in _pieces(len(codes), space.at_once(codes))
    ]
    return torch.cat(parts).unflatten(0, (len(heads), size))


def _distances(z: Tensor, table: Tensor, group: np.ndarray) -> np.ndarray:
    """Returns the squared distances (n, K) of vectors (n, D) to those of their group's table.

    Arguments:
        z: Ordered by group.
        table: (G, K, D).
        group: (n,), the number of each one's table.
    """
    # Relative to the mean of the table, so that little is lost to rounding.
    centre = table.mean(1, keepdim=True)
    table = table - centre
    if len(table) == 1:
        z, lengths = z - centre[0], table[0].square().sum(1)
        own_lengths = z.square().sum(1, keepdim=True)
        return (lengths + own_lengths).addmm_(z, table[0].T, alpha=-2).cpu().numpy()
    counts = np.bincount(group, minlength=len(table))
    places = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    where = torch.from_numpy(group).to(z.device), torch.from_numpy(places).to(z.device)
    padded = z.new_zeros(len(table), int(counts.max()), z.shape[1])
    padded[where] = z
    padded -= centre
    lengths = padded.square().sum(2, keepdim=True) + table.square().sum(2)[:, None]
    return lengths.baddbmm_(padded, table.transpose(1, 2), alpha=-2)[where].cpu().numpy()


def _assign(distances: np.ndarray, group: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Assigns each item the nearest code of its group that has room: (n,), -1 where none has.

    Arguments:
        distances: (n, K).
        group: (n,), of each item.
        room: (G, K), how many items each code takes; less afterwards.
    """
    chosen = np.full(len(distances), -1, np.int64)
    pending, turn = np.arange(len(distances)), 0
    while len(pending):
        wanted = np.where(room[group[pending]] > 0, distances[pending], np.inf)
        best = wanted.argmin(1)
        possible = np.isfinite(wanted[np.arange(len(pending)), best])
        pending, wanted, best = pending[possible], wanted[possible], best[possible]
        rank = _rank_of_rivals(pending, group, best, wanted)
        excess = rank - room[group[pending], best] + 1
        if turn >= PATIENCE and (excess > 0).any():
            # The rivals of a crowd all want the same next. So the r-th of them takes its r-th.
            best = _spread(wanted, best, excess)
            rank = _rank_of_rivals(pending, group, best, wanted)
        gets = rank < room[group[pending], best]
        chosen[pending[gets]] = best[gets]
        np.subtract.at(room, (group[pending[gets]], best[gets]), 1)
        pending, turn = pending[~gets], turn + 1
    return chosen


def _rank_of_rivals(
    items: np.ndarray, group: np.ndarray, best: np.ndarray, distances: np.ndarray
) -> np.ndarray:
    """Numbers the items that want the same code, the nearest first; of equals the first."""
    n, size = distances.shape
    key = group[items] * size + best
    order = np.lexsort((items, distances[np.arange(n), best], key))
    ordered = key[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n) - np.repeat(starts, np.diff(starts, append=n))
    return rank


def _spread(distances: np.ndarray, best: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """Has those who are too many want their next codes instead of their nearest."""
    late = np.flatnonzero(excess > 0)
    ordered = np.argsort(distances[late], axis=1, kind="stable")
    free = np.isfinite(distances[late]).sum(1)
    spread = best.copy()
    spread[late] = ordered[np.arange(len(late)), np.minimum(excess[late], free - 1)]
    return spread


def _ranges(first: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Joins the numbers from each first to the one before each after."""
    counts = after - first
    starts = np.cumsum(counts) - counts
    return np.arange(counts.sum()) - np.repeat(starts - first, counts)
