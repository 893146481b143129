"""Shows the tree of codes: the items below each first code, and below those that follow.

The items shown of a prefix are its most typical: those nearest to the mean of all items under it.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np
import torch

from smalti.data.items import Category
from smalti.ids import level_letters
from smalti.modalities.vector.agreement import (
    adjusted_mutual_information,
    agreement,
    agreement_by_chance,
)
from smalti.modalities.vector.prefixes import (
    Groups,
    groups_by_prefix,
    iterate_vectors,
    why_no_codes,
)
from smalti.reporting import Branch, Measurement, Section, Subject, Tree
from smalti.reporting.figures import NARROW_SPACE, number

__all__ = ["CodeTree"]

SHOWN = (64, 8, 4)  # nodes of the first level; below each of these; below each of those
TYPICAL = (3, 3, 2)  # items of a node
LONGEST = 90  # letters of an item
SHUFFLES = 3  # of codes, for how much they say of a category by chance


class CodeTree(Measurement[Subject]):
    """Shows the prefix tree of the codes of all items, down to its third level."""

    key: ClassVar[str] = "tree"
    title: ClassVar[str] = "Tree of codes"
    chapter: ClassVar[str] = "Tree of codes"

    def applies(self, subject: Subject) -> str | None:
        """See `Measurement.applies`."""
        return why_no_codes(subject) or subject.without_tree

    def run(self, subject: Subject) -> Section:
        """See `Measurement.run`."""
        section = self.section()
        depths = groups_by_prefix(subject.codes)[: len(SHOWN)]
        levels = _levels(depths)
        typical = _typical_items(subject, depths, levels)
        names = _names(subject, [row for level in typical for rows in level for row in rows])
        category = _telling_category(subject, depths[0])
        section.blocks["tree"] = _tree(subject, depths, levels, typical, names, category)
        return section


class _Level(NamedTuple):
    """The nodes of a level that are shown.

    Attributes:
        nodes: (M,): the group of each, the largest first among those below one node.
        parents: (M,): the place of the one above among those of its level; 0 of the first level.
        below: (M,): how many groups there are below each, shown or not.
    """

    nodes: np.ndarray
    parents: np.ndarray
    below: np.ndarray


def _levels(depths: list[Groups]) -> list[_Level]:
    """Chooses the nodes that are shown of each level, the largest."""
    levels: list[_Level] = []
    for depth, (groups, most) in enumerate(zip(depths, SHOWN, strict=False)):
        n = len(groups.sizes)
        above = depths[depth - 1].group_of[groups.first] if depth else np.zeros(n, dtype=np.int64)
        order = np.lexsort((-groups.sizes, above))
        rank = np.arange(n) - np.searchsorted(above[order], above[order])
        place = np.zeros(1, dtype=np.int64)
        if depth:
            place = np.full(len(depths[depth - 1].sizes), -1)
            place[levels[-1].nodes] = np.arange(len(levels[-1].nodes))
        chosen = order[(rank < most) & (place[above[order]] >= 0)]
        if depth == 0:  # by size, and below by the place of the one above
            chosen = chosen[np.argsort(-groups.sizes[chosen], kind="stable")]
        below = np.zeros(n, dtype=np.int64)
        if depth + 1 < len(depths):
            below = np.bincount(groups.group_of[depths[depth + 1].first], minlength=n)
        levels.append(_Level(chosen, place[above[chosen]], below[chosen]))
    return levels


def _typical_items(
    subject: Subject, depths: list[Groups], levels: list[_Level]
) -> list[list[list[int]]]:
    """Returns the items of each node of each level that lie nearest to its mean."""
    nodes = []  # of each level, the node of each item, or -1
    for groups, level in zip(depths, levels, strict=True):
        place = np.full(len(groups.sizes), -1)
        place[level.nodes] = np.arange(len(level.nodes))
        nodes.append(torch.from_numpy(place[groups.group_of]))
    dim = subject.splits.signal.channels
    sums = [torch.zeros(len(level.nodes), dim, dtype=torch.float64) for level in levels]
    start = 0
    for x in iterate_vectors(subject):
        for node, total in zip(nodes, sums, strict=True):
            here = node[start : start + len(x)]
            total.index_add_(0, here[here >= 0], x[here >= 0].double())
        start += len(x)
    distances, start = np.zeros((len(nodes), start)), 0
    for x in iterate_vectors(subject):
        for row, (node, total, groups, level) in enumerate(
            zip(nodes, sums, depths, levels, strict=True)
        ):
            here = node[start : start + len(x)]
            mean = total / torch.from_numpy(groups.sizes[level.nodes])[:, None]
            away = (x.double() - mean[here.clamp(min=0)]).square().sum(1)
            distances[row, start : start + len(x)] = away.numpy()
        start += len(x)
    return [
        _nearest(node.numpy(), away, len(level.nodes), most)
        for node, away, level, most in zip(nodes, distances, levels, TYPICAL, strict=False)
    ]


def _nearest(nodes: np.ndarray, away: np.ndarray, n: int, most: int) -> list[list[int]]:
    """Returns the items of each of n nodes with the smallest distances."""
    order = np.lexsort((away, nodes))
    starts = np.searchsorted(nodes[order], np.arange(n + 1))
    return [
        order[a : min(b, a + most)].tolist() for a, b in zip(starts[:-1], starts[1:], strict=True)
    ]


def _names(subject: Subject, rows: list[int]) -> dict[int, str]:
    """Returns what items are called in the report, by their indices."""
    items, manifest = subject.splits.items, subject.splits.manifest
    if items is None or manifest is None:
        return {row: f"item {row}" for row in rows}
    own = items.rows_of(manifest, rows)
    titles = items.titles([max(0, row) for row in own])
    named = zip(rows, own, titles, strict=True)
    found = {row: title if place >= 0 else manifest.name(row) for row, place, title in named}
    return {
        row: f"{title[: LONGEST - 1]}…" if len(title) > LONGEST else title
        for row, title in ((row, " ".join(title.split())) for row, title in found.items())
    }


def _telling_category(subject: Subject, first: Groups) -> tuple[str, Category] | None:
    """Returns the category of which the first code says most, adjusted for chance, if any."""
    items, manifest = subject.splits.items, subject.splits.manifest
    if items is None or manifest is None or not items.categories:
        return None
    rows = items.rows(manifest)
    found = {}
    for name, category in items.categories.items():
        mine = category.take(rows)
        known = mine.codes >= 0
        if known.any():
            of = np.unique(first.group_of[known], return_inverse=True)[1]
            numbers = np.unique(mine.codes[known], return_inverse=True)[1]
            chance, _ = agreement_by_chance(of, numbers, SHUFFLES, subject.seed)
            found[name] = (
                adjusted_mutual_information(agreement(of, numbers), chance),
                mine,
            )
    if not found:
        return None
    best = max(found, key=lambda name: found[name][0])
    return best, found[best][1]


def _tree(  # noqa: PLR0913 - all that is shown
    subject: Subject,
    depths: list[Groups],
    levels: list[_Level],
    typical: list[list[list[int]]],
    names: dict[int, str],
    category: tuple[str, Category] | None,
) -> Tree:
    """Makes the block, from the leaves to the first level."""
    codes, children = subject.codes, dict[int, list[Branch]]()
    for depth in reversed(range(len(levels))):
        groups, level = depths[depth], levels[depth]
        notes = _notes(groups, level, category)
        made: dict[int, list[Branch]] = {}
        for place, node in enumerate(level.nodes.tolist()):
            prefix = codes[groups.first[node], : depth + 1].tolist()
            below = children.get(place, [])
            branch = Branch(
                " ".join(f"{level_letters(i)}_{code}" for i, code in enumerate(prefix)),
                int(groups.sizes[node]),
                [names[row] for row in typical[depth][place]],
                notes[place],
                below,
                int(level.below[place]) - len(below),
            )
            made.setdefault(int(level.parents[place]), []).append(branch)
        children = made
    first, n = children[0], len(depths[0].sizes)
    shown = f"the {number(len(first))} largest of {number(n)}" if len(first) < n else f"all {n}"
    told = f" Beside it, the most frequent {category[0]}." if category else ""
    return Tree(
        first,
        f"First codes, {shown}, the largest first: how many items have each, and its most typical "
        f"items, those nearest to the mean of all under it.{told} A click opens what lies below: "
        f"the second code, then the third.",
        len(codes),
    )


def _notes(groups: Groups, level: _Level, category: tuple[str, Category] | None) -> list[str]:
    """Returns the most frequent value of the category under each node, with its share."""
    if category is None:
        return [""] * len(level.nodes)
    place = np.full(len(groups.sizes), -1)
    place[level.nodes] = np.arange(len(level.nodes))
    node, value = place[groups.group_of], category[1].codes
    kept = (node >= 0) & (value >= 0)
    width = len(category[1].names)
    counts = np.bincount(node[kept] * width + value[kept], minlength=len(level.nodes) * width)
    counts = counts.reshape(len(level.nodes), width)
    values = [f"{category[0]} {one}" if one.isdecimal() else one for one in category[1].names]
    return [
        f"{values[row.argmax()]}: {100 * row.max() / row.sum():.0f}{NARROW_SPACE}%"
        if row.sum()
        else ""
        for row in counts
    ]
