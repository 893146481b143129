"""Refines the codebooks of all stages of a residual quantizer jointly.

Residual k-means finds each codebook as if it were the last. Given the codes k_q(i) of each row x_i,
all codewords that leave the least are those of one least-squares problem,

    minimise Σ_i ‖x_i − Σ_q e_{q, k_q(i)}‖² + λ ‖e − e_before‖²      (A + λ) e = b + λ e_before

where A counts how often two codes go together and b sums the rows of each code. Rounds of it, with
codes that are searched anew in between, end in a minimum that is local, and fit the rows so well
that others are served worse. Both is helped by rows that are never the same twice. In each round a
row is mixed with another one, x', that is drawn at random and new each time,

    μ + √(1 − a) (x − μ) + √a (x' − μ)        or        x + √a (x' − m')

The first, with the mean μ of all, keeps mean and covariance: good where rows form one cloud. Where
they form clumps, most of what is so mixed would lie between them; there m' is what the first stage,
or all of them, make of x', so that x is moved by as much as they leave over. Which of the three
serves rows better that it has not seen is found by a few rounds on four fifths of them. The share
a falls from 0.6 to the given one, as the temperature does in annealing, and A and b are running
means over more and more rounds.

In the end the codewords are those of before if these leave no more of the rows, which are mixed
with the given share if that is around their mean. So with a share of 0 the error of the rows never
rises.

References:
    Additive Quantization for Extreme Vector Compression, A. Babenko and V. Lempitsky, 2014, CVPR.
    LSQ++: Lower Running Time and Higher Recall in Multi-Codebook Quantization, J. Martinez, S.
    Zakhmi, H. H. Hoos and J. J. Little, 2018, ECCV.
    mixup: Beyond Empirical Risk Minimization, H. Zhang, M. Cisse, Y. N. Dauphin and D. Lopez-Paz,
    2018, ICLR, arXiv 1710.09412.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from smalti.quantizers.beam import beam_search, greedy_search
from smalti.quantizers.collectives import broadcast, process_count, process_index
from smalti.quantizers.fitting.fitting import Progress
from smalti.quantizers.fitting.lloyd import check_finite
from smalti.quantizers.fitting.reservoir import Reservoir
from smalti.quantizers.fitting.rows import Rows

__all__ = ["MOST_CODEWORDS", "Refinement"]

MOST_CODEWORDS = 4096  # of all stages: 128 MB of products, a second or two a round
DRAWN = 2**16  # rows of a round, or so many for each codeword of the largest stage:
EACH = 128
LEAST = 32  # the same where there are fewer rows, which are then mixed with several others
NUMBERS = 2**25  # of the rows of a round: 128 MB
PIECE = 8192  # rows of a chunk whose sums are in memory at a time
PILOT = 12  # rounds that find out how to mix
MARGIN = 0.98  # so few rounds do not show yet all that mixing around the mean gains
MIXED = 0.6  # the share of other rows in the first round
KEPT = 0.7  # the share of earlier rounds in the last one
RIDGE = 1.0  # λ, in rows
ATTEMPTS = 3  # passes over all rows that look for codes nobody uses


class Refinement(NamedTuple):
    """Refines the codebooks of all stages of a sum jointly; all processes end with the same.

    Attributes:
        rows: The vectors that the sums approximate.
        rounds: The number of rounds; each searches codes anew and then computes codebooks.
        beam: The beam width of the search for codes in these rounds.
        mixing: The share a of another row that is mixed into each in the last round, in [0, 1).
        final_beam: The beam width with which the quantizer will be used.
        seed: Seed of all random draws.
    """

    rows: Rows
    rounds: int
    beam: int
    mixing: float
    final_beam: int
    seed: int

    @torch.no_grad()
    def __call__(self, books: Sequence[Tensor], progress: Progress) -> list[Tensor]:
        """Returns the codewords of each stage (K_q, D), from those of before, on their device.

        With no more rows than codewords they are those of before.

        Arguments:
            books: The codewords of each stage (K_q, D).
            progress: Told how far it is.
        """
        before = [book.clone() for book in books]
        if len(self.rows) <= sum(len(book) for book in books):
            return before  # k-means all but keeps such rows as they are
        # All processes draw the same rows, of which each has its part and partners of its own.
        sample = _Sample(self.rows, max(len(book) for book in books), self.seed)
        own = torch.Generator().manual_seed((self.seed + 1 + process_index()) % 2**63)
        depth = self._depth(before, sample, own)

        def tell(done: int) -> None:
            progress(done / self.rounds, f"round {done} of {self.rounds}")

        refined = self._refined(before, sample.draw, self.rounds, depth, own, tell)
        refined = self._revived(refined, own)
        return refined if self._is_better(refined, before, depth, own) else before

    def _depth(self, books: Sequence[Tensor], sample: _Sample, own: torch.Generator) -> int:
        """Returns what stages leave over of rows is to be mixed in; 0 for rows themselves."""
        some, others = sample.divided()
        rounds, depths = min(PILOT, self.rounds), (0, 1, len(books))
        lost = books[0].new_zeros(len(depths), dtype=torch.float64)
        for place, depth in enumerate(depths):
            found = self._refined(books, lambda: some, rounds, depth, own, lambda _: None)
            lost[place] = self._lost(others.to(books[0].device), found)
        if process_count() > 1:
            dist.all_reduce(lost)
        lost[0] *= MARGIN
        return depths[int(lost.argmin())]

    def _refined(
        self,
        books: Sequence[Tensor],
        draw: Callable[[], Tensor],
        rounds: int,
        depth: int,
        own: torch.Generator,
        tell: Callable[[int], None],
    ) -> list[Tensor]:
        """Makes rounds of the refinement."""
        products, moments, refined = torch.zeros(()), torch.zeros(()), [*books]
        for number in range(rounds):
            past = number / rounds
            share = MIXED + (self.mixing - MIXED) * past
            mixed = _mixed(draw().to(books[0].device), share, refined, depth, own)
            now = _sums(mixed, refined, self.beam)
            kept = KEPT * past  # 0 in the first round
            products = (1 - kept) * now[0] + kept * products.to(now[0])
            moments = (1 - kept) * now[1] + kept * moments.to(now[1])
            refined = _solved(products, moments, refined)
            tell(number + 1)
        return refined

    def _lost(self, x: Tensor, books: Sequence[Tensor]) -> Tensor:
        """Returns the squared error of rows (n, D), added up, in float64."""
        lost = x.new_zeros((), dtype=torch.float64)
        for part in x.split(PIECE):
            left = part - _sum_of(books, beam_search(part, books, self.final_beam))
            lost += left.square_().sum(dtype=torch.float64)
        return lost

    def _revived(self, books: Sequence[Tensor], own: torch.Generator) -> list[Tensor]:
        """Puts codewords that no row uses where they are missing.

        Each takes what is left, without its stage, of a row that is drawn in proportion to its
        squared error.
        """
        books = [book.clone() for book in books]
        for _ in range(ATTEMPTS):
            counts, wanted = self._usage(books, own)
            dead = [
                (q, k)
                for q, used in enumerate(counts)
                for k in (used == 0).nonzero()[:, 0].tolist()
            ]
            if not dead:
                break
            codes = beam_search(wanted, books, self.final_beam)
            given = [book.clone() for book in books]
            for (q, k), code, x in zip(dead, codes, wanted, strict=False):
                # A greedy search does not know what later stages will add.
                known = q if self.final_beam == 1 else len(books)
                others = [p for p in range(known) if p != q]
                given[q][k] = x - sum(books[p][code[p]] for p in others)
            books = [broadcast(book) for book in given]
        return books

    def _usage(self, books: Sequence[Tensor], own: torch.Generator) -> tuple[list[Tensor], Tensor]:
        """Counts the rows of each code, and draws rows that are badly served.

        Returns:
            The counts of each stage (K_q,), and at most as many rows as there are codes, (n, D).
        """
        counts = [book.new_zeros(len(book), dtype=torch.int64) for book in books]
        drawn = Reservoir(sum(len(book) for book in books), books[0])
        for x in self._chunks(books[0].device):
            parts = [beam_search(part, books, self.final_beam) for part in x.split(PIECE)]
            codes = torch.cat(parts)
            for used, code in zip(counts, codes.unbind(1), strict=True):
                used += torch.bincount(code, minlength=len(used))
            pairs = zip(x.split(PIECE), codes.split(PIECE), strict=True)
            errors = [(part - _sum_of(books, of)).square().sum(1) for part, of in pairs]
            drawn.add(x, torch.cat(errors), own)
            del x, pairs  # before the next one is read
        if process_count() > 1:
            for used in counts:
                dist.all_reduce(used)
        return counts, drawn.gathered()

    def _is_better(
        self,
        after: Sequence[Tensor],
        before: Sequence[Tensor],
        depth: int,
        own: torch.Generator,
    ) -> bool:
        """Returns whether codewords leave less of the rows.

        They are mixed as in the last round if that is around their mean.
        """
        lost = before[0].new_zeros(2, dtype=torch.float64)
        for chunk in self._chunks(before[0].device):
            both = torch.zeros_like(lost)
            for x in _mixed(chunk, 0.0 if depth else self.mixing, before, depth, own):
                both += torch.stack([self._lost(x, after), self._lost(x, before)])
            lost += both
            del chunk, x  # before the next one is read
        if process_count() > 1:
            dist.all_reduce(lost)
        return bool(lost[0] < lost[1])

    def _chunks(self, device: torch.device) -> Iterator[Tensor]:
        """Yields those chunks (n, D) that are this process's."""
        for chunk in self.rows.chunks(first=process_index(), step=process_count()):
            check_finite(chunk)
            yield chunk.to(device)
            del chunk  # before the next one is read


class _Sample:
    """Rows that are drawn for each round, or all of them if there are no more.

    Arguments:
        rows: All of them.
        size: K, the largest codebook.
        seed: Of what is drawn.
    """

    def __init__(self, rows: Rows, size: int, seed: int) -> None:
        self.rows = rows
        self.number = min(max(DRAWN, EACH * size), max(NUMBERS // rows.dim, size))
        self.least = min(LEAST * size, self.number)
        self.draws = torch.Generator().manual_seed(seed)
        self.whole: Tensor | None = None
        if len(rows) <= self.number:
            self.whole = self._often(self._part(torch.arange(len(rows))), len(rows))

    def draw(self) -> Tensor:
        """Draws rows (n, D)."""
        return self._part(self._numbers()) if self.whole is None else self.whole

    def divided(self) -> tuple[Tensor, Tensor]:
        """Draws rows, and others (n, D) that are a fourth as many and none of the first."""
        if self.whole is None:
            numbers = self._numbers().unique()
        else:
            numbers = torch.arange(len(self.rows))
        numbers = numbers[torch.randperm(len(numbers), generator=self.draws)]
        count = len(numbers) // 5
        some = self._part(numbers[count:].sort().values)
        return self._often(some, len(numbers) - count), self._part(numbers[:count].sort().values)

    def _numbers(self) -> Tensor:
        return torch.randint(len(self.rows), (self.number,), generator=self.draws).sort().values

    def _part(self, numbers: Tensor) -> Tensor:
        x = self.rows.at(numbers[process_index() :: process_count()])
        check_finite(x)
        return x

    def _often(self, x: Tensor, count: int) -> Tensor:
        """Repeats rows that are few, so that each is mixed with several others."""
        return x.repeat(-(-self.least // count), 1)


def _mixed(
    x: Tensor, share: float, books: Sequence[Tensor], depth: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yields rows (n, D), each mixed with a share of another, in pieces."""
    if not share:
        yield from x.split(PIECE)
        return
    partners = torch.randperm(len(x), generator=generator).to(x.device)
    if depth:
        known = books[:depth]
        codes = torch.cat([greedy_search(part, known) for part in x.split(PIECE)])
    else:
        middle = x.mean(0)
    for part, chosen in zip(x.split(PIECE), partners.split(PIECE), strict=True):
        if depth:
            left = x[chosen] - _sum_of(known, codes[chosen])
            yield left.mul_(math.sqrt(share)).add_(part)
        else:
            other = (x[chosen] - middle).mul_(math.sqrt(share))
            yield other.add_(part - middle, alpha=math.sqrt(1 - share)).add_(middle)


def _sums(pieces: Iterable[Tensor], books: Sequence[Tensor], beam: int) -> tuple[Tensor, Tensor]:
    """Counts which codes of rows go together, and adds up the rows of each.

    Arguments:
        pieces: The rows (n, D), in pieces.
        books: The codewords of each stage.
        beam: The beam width of the search for codes.

    Returns:
        The counts (ΣK, ΣK) and the sums (ΣK, D), float64.
    """
    sizes = [len(book) for book in books]
    starts = [0, *accumulate(sizes)]
    total = starts[-1]
    products = torch.zeros(total, total, dtype=torch.float64, device=books[0].device)
    moments = products.new_zeros(total, books[0].shape[1])
    for x in pieces:
        rows, codes = x.double(), beam_search(x, books, beam)
        for p, size in enumerate(sizes):
            span = slice(starts[p], starts[p + 1])
            moments[span].index_add_(0, codes[:, p], rows)
            for q in range(p, len(sizes)):
                pairs = codes[:, p] * sizes[q] + codes[:, q]
                together = torch.bincount(pairs, minlength=size * sizes[q]).view(size, sizes[q])
                products[span, starts[q] : starts[q + 1]] += together
    products = products.triu() + products.triu(1).T  # codes of one stage never go together
    if process_count() > 1:
        dist.all_reduce(products)
        dist.all_reduce(moments)
    return products, moments


def _solved(products: Tensor, moments: Tensor, books: Sequence[Tensor]) -> list[Tensor]:
    """Solves for the codewords of all stages, which stay as they are where nothing says more."""
    before = torch.cat([*books]).double()
    ridge = RIDGE * torch.eye(len(products), dtype=products.dtype, device=products.device)
    factor = torch.linalg.cholesky(products + ridge)
    solved = torch.cholesky_solve(moments + RIDGE * before, factor).float()
    return [broadcast(book.contiguous()) for book in solved.split([len(book) for book in books])]


def _sum_of(books: Sequence[Tensor], codes: Tensor) -> Tensor:
    """Adds up the codewords of codes (n, Q): (n, D)."""
    whole = books[0][codes[:, 0]]
    for q, book in enumerate(books[1:], 1):
        whole = whole + book[codes[:, q]]
    return whole
