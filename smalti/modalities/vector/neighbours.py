"""Measures how well nearest neighbours are found by codes alone: recall.

Of a query x, a test vector, the true neighbour is the nearest of all other items by Euclidean
distance (of vectors of unit length, which is the order of their cosines, where lengths mean
nothing). By codes alone an item is what is decoded of its first q codes, x̂_q, and items are ranked
by ‖x − x̂_q‖. Then

    recall@R = share of queries whose true neighbour is among the first R

Items with the same q codes cannot be told apart; where the neighbour is one of E of them, after L
others, it is among the first R with probability (R − L) / E, cut to [0, 1].

References:
    Product Quantization for Nearest Neighbor Search, H. Jégou, M. Douze and C. Schmid, 2011, where
    the query is not quantized either (the asymmetric distance).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.modalities.vector.prefixes import (
    Groups,
    groups_by_prefix,
    iterate_vectors,
    prefix_in_words,
    read_vectors_at,
    why_no_codes,
)
from smalti.reporting import Card, Measurement, Section, Subject, Table, Text, figure
from smalti.reporting.figures import number

__all__ = ["NeighbourRecall", "Ranking", "compute_recall", "squared_distances", "true_neighbours"]

QUERIES = 1000  # test vectors whose neighbours are looked for
PAIRS = 250_000_000  # of queries and items at most, so that a million items take seconds
WITHIN = (1, 10, 100)  # R
ROUNDING = 4e-6  # of the squares that a distance is made of: what differs by less is equal
AT_ONCE = 2**21  # of queries and items, whose distances take 8 MB
LIKELY = 4  # of the items of a chunk, that are compared exactly


class NeighbourRecall(Measurement[Subject]):
    """Measures recall@1, 10 and 100 of a search for nearest neighbours by codes, for each q.

    Recall@R is the share of test vectors whose nearest item is among the first R that are found,
    where an item is what its first q codes decode to, and the test vector is not quantized.
    """

    key: ClassVar[str] = "neighbours"
    title: ClassVar[str] = "Neighbours"
    chapter: ClassVar[str] = "Neighbours"
    compared: ClassVar[Mapping[str, tuple[str | int, ...]]] = {"recall@10": (-1, "recall_at_10")}

    def applies(self, subject: Subject) -> str | None:
        """See `Measurement.applies`."""
        return why_no_codes(subject)

    def run(self, subject: Subject) -> Section:
        """See `Measurement.run`."""
        section = self.section()
        n, parts = len(subject.codes), subject.splits[:3]
        queries = _queries(len(parts[2]), n, subject.seed) + n - len(parts[2])
        unit = subject.splits.signal.unit
        x = _scaled(read_vectors_at(subject, queries), unit)
        items = (_scaled(part, unit) for part in iterate_vectors(subject))
        neighbours = true_neighbours(x, queries, items)
        within = [r for r in WITHIN if r < n]
        protocol = _protocol(len(queries), len(parts[2]), n, unit)
        depths = groups_by_prefix(subject.codes)

        def decoded(rows: np.ndarray, q: int) -> Iterator[Tensor]:
            found = subject.from_codes(subject.codes[rows, :q])
            return (_scaled(part.float().cpu(), unit) for part in found)

        for q, groups in enumerate(depths, start=1):
            decoded_neighbours = torch.cat([*decoded(neighbours, q)])
            among = Ranking(groups, queries, neighbours)
            found = compute_recall(x, decoded_neighbours, decoded(groups.first, q), among, within)
            section.figures[str(q)] = {
                f"recall_at_{r}": figure(
                    value, "share", f"{protocol}; R = {r}, {prefix_in_words(q)}"
                )
                for r, value in zip(within, found, strict=True)
            }
        self._show(section, n, within, protocol)
        return section

    def _show(self, section: Section, n: int, within: list[int], protocol: str) -> None:
        """Makes the table, and a card of all codes."""
        depths = len(section.figures)
        rows: dict[str, list[Any]] = {
            f"by the {prefix_in_words(q)}": [*section.figures[str(q)].values()]
            for q in range(1, depths + 1)
        }
        rows["by chance"] = [
            figure(r / (n - 1), "share", f"by chance R of {number(n - 1)} other items")
            for r in within
        ]
        section.blocks["introduction"] = Text(
            "How often the true nearest neighbour of a test vector is among the first 1, 10 or 100 "
            "items, where of each item the first codes are known and nothing else."
        )
        section.blocks["table"] = Table(
            ("Neighbour found", *(f"recall@{r}" for r in within)),
            rows,
            best=f"by the {prefix_in_words(depths)}",
            notes=[protocol],
        )
        last = section.figures[str(depths)]
        if "recall_at_10" in last:
            hint = "of true neighbours, from codes alone"
            section.cards.append(Card(last["recall_at_10"], "Recall@10", hint))


def _protocol(queries: int, test: int, n: int, unit: bool) -> str:
    """Says how recall is measured."""
    drawn = "all test vectors" if queries == test else f"drawn from {number(test)} test vectors"
    space = "scaled to unit length" if unit else "as they were given"
    return (
        f"{number(queries)} queries, {drawn}, N = {number(n)} items of all splits; the true "
        f"neighbour is the nearest other item by Euclidean distance of vectors {space}; items are "
        f"ranked by the distance of the query, which is not quantized, to what is decoded of their "
        f"first codes, and share their ranks where these are equal; recall@R is the share of "
        f"queries whose true neighbour is among the first R"
    )


class Ranking(NamedTuple):
    """The queries and items of a nearest-neighbour search by codes.

    Attributes:
        groups: The items, grouped by their codes.
        queries: (n,), the index of the item that each query is, which is not ranked itself.
        neighbours: (n,), the index of the true nearest neighbour of each query.
    """

    groups: Groups
    queries: np.ndarray
    neighbours: np.ndarray


def true_neighbours(x: Tensor, queries: np.ndarray, items: Iterable[Tensor]) -> np.ndarray:
    """Finds the true nearest neighbour of each query among the other items (n,), the first of ties.

    Arguments:
        x: The queries (n, d).
        queries: (n,), the index of the item that each query is.
        items: All items, in chunks (m, d).

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [3.0], [1.5]])
        >>> true_neighbours(x[1:2], np.array([1]), [x[:2], x[2:]]).tolist()
        [3]
    """
    own, centre = torch.from_numpy(queries), x.mean(0)
    best = torch.full((len(x),), torch.inf, dtype=torch.float64)
    which = torch.zeros(len(x), dtype=torch.int64)
    start = 0
    for part in _pieces(items, len(x)):
        distances = squared_distances(x - centre, part - centre)
        inside = ((own >= start) & (own < start + len(part))).nonzero()[:, 0]
        distances[inside, own[inside] - start] = torch.inf
        likely = distances.topk(min(LIKELY, len(part)), largest=False).indices.sort(1).values
        exact = (x[:, None].double() - part[likely].double()).square().sum(2)
        exact[likely + start == own[:, None]] = torch.inf
        nearest, place = exact.min(1)
        better = nearest < best
        best = torch.where(better, nearest, best)
        which = torch.where(better, likely.gather(1, place[:, None])[:, 0] + start, which)
        start += len(part)
    return which.numpy()


def compute_recall(
    x: Tensor,
    decoded_neighbours: Tensor,
    decoded: Iterable[Tensor],
    ranking: Ranking,
    within: Sequence[int],
) -> list[float]:
    """Computes recall@R for each R in `within`: how often the true neighbour is in the first R.

    Arguments:
        x: The queries (n, d).
        decoded_neighbours: The vectors (n, d) decoded from the codes of the true neighbours.
        decoded: The vectors (G, d) decoded from the codes of each group, in chunks.
        ranking: The queries, their true neighbours, and the groups of items.
        within: The values of R.
    """
    groups = ranking.groups
    sizes = torch.from_numpy(groups.sizes).float()
    mine, wanted = (
        torch.from_numpy(groups.group_of[r]) for r in (ranking.queries, ranking.neighbours)
    )
    centre = x.mean(0)
    limit, around = (x - decoded_neighbours).square().sum(1, keepdim=True), x - centre
    before, equal = torch.zeros(2, len(x), dtype=torch.float64)
    start = 0
    for part in _pieces(decoded, len(x)):
        made, end = part - centre, start + len(part)
        away = squared_distances(around, made).sub_(limit)
        slack = around.square().sum(1, keepdim=True) + made.square().sum(1)
        slack.mul_(ROUNDING)
        rows, columns = _inside(wanted, start, end)
        away[rows, columns] = 0.0  # those of the group that is looked for are equal in any case
        near, nearer = away <= slack, away < slack.neg()
        counts, alone = sizes[start:end], _inside(mine, start, end)
        closer = nearer.float() @ counts  # exact: there are fewer than 2²⁴ items in a chunk
        within_slack = near.float() @ counts - closer
        closer[alone[0]] -= nearer[alone].float()  # the query is no neighbour of its own
        within_slack[alone[0]] -= (near & ~nearer)[alone].float()
        before, equal, start = before + closer, equal + within_slack, end
    return [((r - before) / equal).clamp(0, 1).mean().item() for r in within]


def _pieces(chunks: Iterable[Tensor], queries: int) -> Iterator[Tensor]:
    """Yields the rows of chunks (m, d) in pieces, of which few are compared with all queries."""
    for chunk in chunks:
        yield from chunk.split(max(AT_ONCE // max(queries, 1), 1))


def _inside(groups: Tensor, start: int, end: int) -> tuple[Tensor, Tensor]:
    """Returns which of the numbers (n,) lie in a chunk, and where in it."""
    rows = ((groups >= start) & (groups < end)).nonzero()[:, 0]
    return rows, groups[rows] - start


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Computes ‖x − y‖² of all pairs of x (n, d) and y (m, d): (n, m)."""
    distances = 2 * x @ y.T  # in place from here on
    return distances.neg_().add_(x.square().sum(1, keepdim=True)).add_(y.square().sum(1))


def _queries(test: int, n: int, seed: int) -> np.ndarray:
    """Draws which of the test vectors are queries, in order: 1000 at most, fewer of many items."""
    drawn = torch.randperm(test, generator=torch.Generator().manual_seed(seed))
    return drawn[: min(QUERIES, PAIRS // n)].sort().values.numpy()


def _scaled(x: Tensor, unit: bool) -> Tensor:
    return F.normalize(x, dim=1) if unit else x
