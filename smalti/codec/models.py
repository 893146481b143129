"""What tokens are coded under: a learned prior, how often each index comes, or nothing.

A model of symbols says in which order the tokens of a piece come, and gives the distribution of
each, to a writer that knows all tokens (`known`) and to a reader that learns them one by one
(`Walk`). Of a learned prior the writer takes a full pass and the reader a `Stepper`: two ways to
compute the same logits, which the writer compares before it gives a file away.
"""

from __future__ import annotations

import copy
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from smalti.codec.digest import digest
from smalti.codec.frequencies import (
    LARGEST,
    frequencies_of_counts,
    frequencies_of_steps,
    to_steps,
)
from smalti.codec.range_coder import Damaged, Frequencies, Symbols, Tabled, UniformOf
from smalti.conditions import Condition
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.nn.precision import compute_tables
from smalti.nn.token_embedding import codebook_numbers
from smalti.priors import (
    AutoregressivePrior,
    LevelPriors,
    Prior,
    TokenPrior,
    TractablePrior,
    Uniform,
)

__all__ = ["AT_ONCE", "LearnedModel", "Step", "SymbolModel", "UniformModel", "UnigramModel", "Walk"]

AT_ONCE = 1 << 24  # logits of a full pass that are in memory at a time
NEAR = list[tuple[int, int]]


class Step(NamedTuple):
    """The distribution of one token of M pieces, for a writer.

    Attributes:
        place: Which token, its flat place.
        symbols: The distributions.
        near: (M, K) bool, which logits a reader must be told of; None where there are none.
    """

    place: int
    symbols: Symbols
    near: np.ndarray | None


class Walk(ABC):
    """Abstract: goes through the tokens of M pieces in order, for a reader."""

    @abstractmethod
    def symbols(self, listed: NEAR) -> Symbols:
        """Returns the distributions of the current token.

        Arguments:
            listed: Rows and columns of the logits that the writer listed.
        """

    @abstractmethod
    def push(self, indices: Tensor) -> None:
        """Sets the current token to indices (M,), int64, and goes on to the next."""


class SymbolModel(ABC):
    """Abstract: the distributions that tokens are coded under.

    Attributes:
        code: Its number in the format.
        name: What users call it.
        layout: The layout of a piece.
        order: The flat places of the tokens in the order in which they are coded.
        digest: 8 bytes that tell it from others of its kind.
        condition: What it is conditioned on; None for nothing.
    """

    code: int
    name: str
    layout: Layout
    order: list[int]
    digest: bytes
    condition: Condition | None = None

    @abstractmethod
    def known(self, pieces: Tensor, context: Tensor | None) -> Iterator[Step]:
        """Yields the distributions of all tokens of pieces (M, L), in order, given the pieces.

        Arguments:
            pieces: (M, L), int64.
            context: (M, *shape) values of the condition; None without one.
        """

    @abstractmethod
    def walk(self, count: int, context: Tensor | None) -> Walk:
        """Returns a walk through `count` pieces, with context (count, *shape) if any."""

    @abstractmethod
    def bits(self, pieces: Tensor, coded: Tensor, context: Tensor | None) -> Tensor:
        """Computes −log₂ p of the tokens of each piece that are coded, (M,), float64.

        Arguments:
            pieces: (M, L), int64.
            coded: (M, L), bool.
            context: (M, *shape) values of the condition; None without one.
        """


class _SameEverywhere(SymbolModel):
    """Abstract: the distribution of a token is known beforehand."""

    def __init__(self, layout: Layout, symbols: Sequence[UniformOf | Tabled]) -> None:
        self.layout, self.of_codebook = layout, symbols
        self.order = list(range(layout.positions))
        self.numbers: list[int] = codebook_numbers(layout).tolist()

    def known(self, pieces: Tensor, context: Tensor | None) -> Iterator[Step]:
        for place in self.order:
            yield Step(place, self.of_codebook[self.numbers[place]], None)

    def walk(self, count: int, context: Tensor | None) -> Walk:
        return _Row(self)

    def bits(self, pieces: Tensor, coded: Tensor, context: Tensor | None) -> Tensor:
        tables = [torch.from_numpy(each.bits()) for each in self.of_codebook]
        total = torch.zeros(len(pieces), dtype=torch.float64)
        for place in self.order:
            table = tables[self.numbers[place]]
            cost = table[pieces[:, place] if len(table) > 1 else pieces[:, place] * 0]
            total += cost * coded[:, place]
        return total


class _Row(Walk):
    """Goes through tokens whose distributions are known beforehand."""

    def __init__(self, model: _SameEverywhere) -> None:
        self.model, self.place = model, 0

    def symbols(self, listed: NEAR) -> Symbols:
        return self.model.of_codebook[self.model.numbers[self.place]]

    def push(self, indices: Tensor) -> None:
        self.place += 1


class UniformModel(_SameEverywhere):
    """All indices of a codebook are equally likely.

    Arguments:
        layout: The layout of the tokens.
    """

    code, name, digest = 0, "uniform", bytes(8)

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, [UniformOf(size) for size in layout.sizes])


class UnigramModel(_SameEverywhere):
    """An index is as likely as it is frequent in training, whatever is around it.

    Arguments:
        layout: The layout of the tokens.
        counts: How often each index of each codebook comes, (K,), level by level.

    Raises:
        InputError: If a codebook is too large.
    """

    code, name = 1, "unigram"

    def __init__(self, layout: Layout, counts: Sequence[np.ndarray]) -> None:
        _check_size(layout, "uniform")
        super().__init__(layout, [Tabled(frequencies_of_counts(each)) for each in counts])
        joined = b"".join(each.astype("<i8").tobytes() for each in counts)
        self.digest = hashlib.sha256(joined).digest()[:8]


class LearnedModel(SymbolModel):
    """A learned prior that goes from token to token, in float64 on the CPU.

    Arguments:
        prior: An `AutoregressivePrior`, or a cascade of such.

    Raises:
        InputError: If it is of another kind.
    """

    code, name = 2, "learned"

    def __init__(self, prior: Prior) -> None:
        levels = prior.levels if isinstance(prior, LevelPriors) else (prior,)
        for level in levels:
            if not isinstance(level, AutoregressivePrior | Uniform):
                raise InputError(
                    f"Coding goes from token to token, which a {type(level).__name__} does not: "
                    f"code with --prior unigram, or fit a prior such as TransformerPrior."
                )
        assert isinstance(prior, TokenPrior)
        _check_size(prior.layout, "uniform")
        self.digest = digest(prior)
        self.prior = copy.deepcopy(prior).cpu().double().eval()
        compute_tables(self.prior, torch.float64)
        self.layout, self.condition = prior.layout, prior.condition
        self.levels: Sequence[TokenPrior] = (
            self.prior.levels if isinstance(self.prior, LevelPriors) else (self.prior,)
        )
        ends = np.cumsum([level.positions for level in self.levels]).tolist()
        self.starts = [0, *ends[:-1]]
        self.sizes: list[int] = self.layout.sizes_of_tokens().tolist()
        self.order = [
            start + place
            for start, level in zip(self.starts, self.levels, strict=True)
            for place in _order(level)
        ]

    def context_of(self, level: int, pieces: Tensor, context: Tensor | None) -> Tensor | None:
        """Returns the context of a level: the values given, and the levels above of pieces."""
        if not isinstance(self.prior, LevelPriors):
            return context
        return self.prior.context_of_level(level, pieces, context)

    def known(self, pieces: Tensor, context: Tensor | None) -> Iterator[Step]:
        for level, prior in enumerate(self.levels):
            start, own = self.starts[level], pieces[:, self.starts[level] :][:, : prior.positions]
            if isinstance(prior, Uniform):
                yield from (
                    Step(start + n, UniformOf(self.sizes[start + n]), None) for n in _order(prior)
                )
                continue
            assert isinstance(prior, AutoregressivePrior)
            given = self.context_of(level, pieces, context)
            for place, logits in _logits(prior, own, given):
                found = to_steps(logits[:, : self.sizes[start + place]])
                symbols = Frequencies(frequencies_of_steps(found.values))
                yield Step(start + place, symbols, found.near if found.near.any() else None)

    def walk(self, count: int, context: Tensor | None) -> Walk:
        return _Steps(self, count, context)

    @torch.no_grad()
    def bits(self, pieces: Tensor, coded: Tensor, context: Tensor | None) -> Tensor:
        assert isinstance(self.prior, TractablePrior)
        shape = (-1, *self.prior.grid)
        grids, mask = pieces.view(shape), coded.view(shape)
        return self.prior._log_prob(grids, context, mask).double() / -math.log(2)


class _Steps(Walk):
    """Goes through the tokens of pieces by the steppers of all levels.

    Arguments:
        model: The model.
        count: M.
        context: (M, *shape) values of the condition, or None.
    """

    def __init__(self, model: LearnedModel, count: int, context: Tensor | None) -> None:
        self.model, self.count, self.context = model, count, context
        self.pieces = torch.zeros(count, len(model.order), dtype=torch.int64)
        self.done, self.level = 0, -1
        self._next()

    def symbols(self, listed: NEAR) -> Symbols:
        size = self.model.sizes[self.model.order[self.done]]
        if self.stepper is None:
            return UniformOf(size)
        if any(column >= size for _, column in listed):
            raise Damaged("it lists logits that it has not")
        logits = self.stepper.logits().numpy()[:, :size]
        return Frequencies(frequencies_of_steps(to_steps(logits, listed).values))

    def push(self, indices: Tensor) -> None:
        self.pieces[:, self.model.order[self.done]] = indices
        self.done += 1
        if self.done == self.end:
            self._next()
        elif self.stepper is not None:
            self.stepper.push(indices)

    def _next(self) -> None:
        """Goes to the level that the next token is of."""
        self.level += 1
        if self.level == len(self.model.levels):
            return
        prior = self.model.levels[self.level]
        self.end = self.model.starts[self.level] + prior.positions
        self.stepper = None
        if isinstance(prior, AutoregressivePrior):
            given = self.model.context_of(self.level, self.pieces, self.context)
            self.stepper = prior.start(self.count, given)


def _order(prior: TokenPrior) -> list[int]:
    """Returns the flat places of a level's tokens in the order of its prior."""
    if isinstance(prior, AutoregressivePrior):
        return prior.order.tolist()
    return list(range(prior.positions))


@torch.no_grad()
def _logits(
    prior: AutoregressivePrior, tokens: Tensor, context: Tensor | None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the places (flat) and logits (M, K) of all tokens (M, L), in the prior's order.

    A full pass gives them all, where it fits into memory; else a stepper gives one by one.
    """
    order = prior.order.tolist()
    if tokens.numel() * prior.codebook_size <= AT_ONCE:
        grids = tokens.view(-1, *prior.grid)
        logits = prior.logits(grids, context).flatten(1, -2).numpy()
        yield from ((place, logits[:, place]) for place in order)
        return
    stepper = prior.start(len(tokens), context)
    for place in order:
        yield place, stepper.logits().numpy()
        if place != order[-1]:
            stepper.push(tokens[:, place])


def _check_size(layout: Layout, instead: str) -> None:
    """Raises `InputError` if a codebook has more indices than there are frequencies for."""
    if layout.largest > LARGEST:
        raise InputError(
            f"Frequencies are of codebooks of at most {LARGEST:,}, got {layout.largest:,}: code "
            f"with --prior {instead}."
        )
