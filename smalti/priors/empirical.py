"""Two baselines for learned priors: the uniform prior, and the histogram of training grids.

    uniform      p(q) = K^−n, n positions             nothing is known about the grids
    histogram    p̂(q | c) = count(q, c) / N(c)        only the grids of the training set exist

The histogram gives a grid that it has not seen the probability 0, and so has no finite likelihood
on held-out data. What is scored is its mixture with the uniform distribution,

    p(q | c) = (1 − u) · p̂(q | c) + u · K^−n          u = N₁(c) / N(c)

where N₁ is the number of grids seen exactly once: u is the Good–Turing estimate of the probability
that the next grid is a new one, kept in [1/(N + 1), N/(N + 1)] so that neither part vanishes.
Samples come from p̂ alone.

References:
    The Population Frequencies of Species and the Estimation of Population Parameters, I. J. Good,
    1953, Biometrika 40.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.conditions import Condition
from smalti.errors import InputError
from smalti.nn.precision import KeepsFloat32
from smalti.priors.sampling import SamplingConfig, uniform_integers
from smalti.priors.token_prior import TractablePrior
from smalti.spelling import readable

__all__ = ["Histogram", "Uniform"]

LOGITS_AT_ONCE = 1 << 24  # what sampling whole grids may hold: 128 MiB of float64


@registered
class Uniform(TractablePrior):
    """The uniform prior: all indices are equally likely, and each costs log K nats.

    Arguments:
        codebook_size: K; or that of each of the Q codebooks, which may differ.
        grid: (H, W) or (T,); of Q indices per position, (H, W, Q) or (T, Q).

    Example:
        >>> prior = Uniform(codebook_size=512, grid=(7, 7))
        >>> prior.loss(torch.zeros(1, 7, 7, dtype=torch.int64))  # log 512
        tensor(6.2383)
    """

    takes = frozenset({"temperature", "top_k", "top_p"})
    per_codebook = True

    def __init__(self, codebook_size: int | Sequence[int], grid: Sequence[int]) -> None:
        super().__init__(codebook_size, grid)

    def _log_prob(self, indices: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        return -self._uniform_nats(len(indices), mask).float().to(indices.device)

    def _sample(
        self,
        n: int,
        context: Tensor | None,
        known: Tensor | None,
        config: SamplingConfig,
        generator: torch.Generator | None,
    ) -> Tensor:
        if len(set(self.layout.sizes)) == 1:
            drawn = self._draw(self.codebook_size, (n, *self.grid), config, generator)
        else:  # the Q codebooks one after another
            shape = (n, *self.grid[:-1])
            columns = [self._draw(k, shape, config, generator) for k in self.layout.sizes]
            drawn = torch.stack(columns, -1)
        return drawn if known is None else torch.where(known < 0, drawn, known)

    def _draw(
        self,
        size: int,
        shape: tuple[int, ...],
        config: SamplingConfig,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Draws indices of a codebook, of which temperature 0, top-k and top-p leave the first."""
        k = min(config.top_k or size, size)
        k = math.ceil(k * (config.top_p or 1)) if config.temperature else 1
        return uniform_integers(k, shape, generator).to(self.device)


@registered
class Histogram(KeepsFloat32, TractablePrior):
    """The empirical distribution of whole training grids, which `fit` stores.

    With a condition, only grids of the same value count, by its distance: with labels, those of the
    same label; with times, those at most `minutes` away on the dial, or the nearest where there is
    none; with grids above, only those below the very same.
    Temperature, top-k and top-p act on whole grids. Known indices are completed by the grids that
    agree with all of them.

    Arguments:
        codebook_size: K; or that of each of the Q codebooks, which may differ.
        grid: (H, W) or (T,); of Q indices per position, (H, W, Q) or (T, Q).
        condition: The condition, such as a label; None for an unconditional prior.
        minutes: How far apart two times may be and still count as the same.

    Example:
        >>> prior = Histogram(codebook_size=4, grid=(2,))
        >>> prior.fit(torch.tensor([[0, 1], [0, 1], [2, 3]]))
        >>> prior.sample(1, known=torch.tensor([[2, -1]]))
        tensor([[2, 3]])
        >>> prior.log_prob(torch.tensor([[0, 1], [1, 1]])).exp()  # u = 1/3
        tensor([0.4653, 0.0208])
    """

    takes = frozenset({"temperature", "top_k", "top_p"})
    per_codebook = True
    in_float32 = ("contexts",)
    grids: Tensor  # (N, *grid), int32, or int64 of codebooks that are too large for it
    contexts: Tensor  # (N, *shape), or empty without a condition

    def __init__(
        self,
        codebook_size: int | Sequence[int],
        grid: Sequence[int],
        condition: Condition | None = None,
        minutes: float = 2.0,
    ) -> None:
        super().__init__(codebook_size, grid, condition)
        if minutes < 0:
            raise InputError(
                f"minutes must be at least 0, got {minutes}: 0 counts equal times only."
            )
        self.minutes = minutes
        dtype = torch.float32 if condition is None else condition.dtype
        shape = () if condition is None else condition.shape
        integer = torch.int32 if self.codebook_size <= 2**31 else torch.int64
        self.register_buffer("grids", torch.empty(0, *self.grid, dtype=integer))
        self.register_buffer("contexts", torch.empty(0, *shape, dtype=dtype))
        self.register_load_state_dict_pre_hook(_make_room)
        self._seen: list[_Seen] = []  # at most one; a list, which views share

    def fit(self, indices: Tensor, context: Tensor | None = None) -> None:
        """Stores the grids of a training set, in place of earlier ones.

        Arguments:
            indices: (N, *grid), integers in [0, K), N at least 1.
            context: (N, *shape) values of the condition, or None for an unconditional prior.

        Raises:
            InputError: If N is 0, or the grids or values do not fit the prior.
        """
        indices = self._check_indices(indices)
        if not len(indices):
            raise InputError("A histogram is fitted to at least one grid, got none: add data.")
        context = self._check_context(context, len(indices))
        self.grids = indices.to(self.grids.dtype)
        if context is not None:
            self.contexts = context.to(self.contexts.dtype)
        self._seen = []

    def has_seen(self, indices: Tensor) -> Tensor:
        """Returns which grids (B, *grid) it was fitted to, whatever their context: (B,) bool."""
        number = self._distinct().number
        return torch.tensor([key in number for key in self._keys(self._check_indices(indices))])

    def _log_prob(self, indices: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        seen = self._distinct()
        numbers = torch.tensor([seen.number.get(key, -1) for key in self._keys(indices)])
        uniform = self._uniform_nats(len(indices), mask)
        result = torch.empty(len(indices), dtype=torch.float64)
        for members, rows in self._groups(context, len(indices)):
            # One count more than there are numbers: number −1, of a new grid, finds the last, 0.
            counts = torch.bincount(seen.of_row[rows], minlength=len(seen.number) + 1)
            n = len(rows)
            u = int((counts == 1).sum()) / n if n else 1.0
            u = min(max(u, 1 / (n + 1)), n / (n + 1)) if n else 1.0
            empirical = counts[numbers[members]].double() / max(n, 1)
            if mask is not None:
                wanted = indices[members].where(mask[members], -1)
                agree = [len(self._agreeing(rows, grid)) for grid in wanted]
                empirical = torch.tensor(agree).double() / max(n, 1)
            result[members] = torch.logaddexp(
                ((1 - u) * empirical).log(), math.log(u) - uniform[members]
            )
        return result.to(indices.device, torch.float32)

    def _sample(
        self,
        n: int,
        context: Tensor | None,
        known: Tensor | None,
        config: SamplingConfig,
        generator: torch.Generator | None,
    ) -> Tensor:
        if not len(self.grids):
            raise InputError("The histogram has seen no grids yet: call its fit first.")
        drawn = torch.empty(n, dtype=torch.int64)
        for members, rows in self._groups(context, n):
            if not len(rows):
                assert context is not None
                raise InputError(self._unseen(context[members[0]]))
            if known is None:
                drawn[members] = self._draw(rows, len(members), config, generator)
                continue
            for member in members.tolist():
                agree = self._agreeing(rows, known[member])
                drawn[member] = self._draw(agree, 1, config, generator)[0]
        return self.grids.cpu()[drawn].to(self.device, torch.int64)

    def _agreeing(self, rows: Tensor, known: Tensor) -> Tensor:
        """Returns those of the stored grids `rows` that agree with a grid, -1 for anything."""
        grids, wanted = self.grids.cpu()[rows], known.cpu()
        return rows[((grids == wanted) | (wanted < 0)).flatten(1).all(1)]

    def _draw(
        self, rows: Tensor, n: int, config: SamplingConfig, generator: torch.Generator | None
    ) -> Tensor:
        """Draws n of the stored grids `rows`, as rows (n,)."""
        if not len(rows):
            raise InputError(
                "No grid seen in training has this context and these known indices: "
                "leave more of them open, or sample from a learned prior."
            )
        if config.plain:
            return rows[uniform_integers(len(rows), (n,), generator).cpu()]
        # Else over the distinct ones among them, some of which come more than once.
        seen = self._distinct()
        numbers, counts = seen.of_row[rows].unique(return_counts=True)
        logits = counts.double().log()
        pieces = torch.arange(n).split(max(LOGITS_AT_ONCE // len(logits), 1))
        drawn = torch.cat(
            [config.draw(logits.expand(len(piece), -1), generator) for piece in pieces]
        )
        return seen.first[numbers[drawn]]

    def _keys(self, grids: Tensor) -> list[bytes]:
        """Turns each grid of (N, *grid) into a key."""
        return [row.tobytes() for row in grids.cpu().to(self.grids.dtype).flatten(1).numpy()]

    def _unseen(self, value: Tensor) -> str:
        """Says that no grid was seen with a context."""
        assert self.condition is not None
        name, text = self.condition.name, readable(self.condition.format(value.tolist()))
        return (
            f"No grid seen in training has the {name} {text[:80]!r}, and a histogram gives those "
            f"alone: ask for what was seen, or sample from a learned prior."
        )

    def _groups(self, context: Tensor | None, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields for each value of a context (batch, *shape) who has it, and the rows to count."""
        if context is None:
            yield torch.arange(batch), torch.arange(len(self.grids))
            return
        contexts = self.contexts.cpu()
        values, value_of = context.cpu().unique(dim=0, return_inverse=True)
        for number, value in enumerate(values):
            near = torch.zeros(0, dtype=torch.bool)
            if len(contexts):
                assert self.condition is not None
                apart = self.condition.distance(contexts, value[None])
                near = (apart <= max(self.minutes, float(apart.min()))) & apart.isfinite()
            yield (value_of == number).nonzero()[:, 0], near.nonzero()[:, 0]

    def _distinct(self) -> _Seen:
        """Returns the distinct grids among the stored ones, found when first needed."""
        if not self._seen:
            number: dict[bytes, int] = {}
            of_row, first = [], []
            for row, key in enumerate(self._keys(self.grids)):
                if key not in number:
                    number[key] = len(number)
                    first.append(row)
                of_row.append(number[key])
            as_tensor = [torch.tensor(rows, dtype=torch.int64) for rows in (of_row, first)]
            self._seen[:] = [_Seen(number, *as_tensor)]
        return self._seen[0]


class _Seen(NamedTuple):
    """The distinct grids, numbered as they come."""

    number: dict[bytes, int]
    of_row: Tensor  # (N,), the number of each stored grid
    first: Tensor  # (distinct,), the row where each came first


def _make_room(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Gives the buffers as many rows as are about to be loaded."""
    assert isinstance(module, Histogram)
    module._seen = []
    for name in ("grids", "contexts"):
        found, buffer = state.get(prefix + name), getattr(module, name)
        if found is not None and found.shape[1:] == buffer.shape[1:]:
            setattr(module, name, buffer.new_empty(found.shape))
