"""The two priors that stand beside a learned one: the uniform distribution, and the histogram of what was seen.

    uniform      p(q) = K^−n, n positions: nothing is known about the grids
    histogram    p̂(q | c) = count(q, c) / N(c): nothing but the grids of the training set exists

The histogram gives a grid it has not seen the probability 0, and so has no finite likelihood on held-out data. What is
scored is its mixture with the uniform distribution,

    p(q | c) = (1 − u) · p̂(q | c) + u · K^−n,        u = N₁(c) / N(c)

where N₁ is the number of grids seen exactly once: u is the Good–Turing estimate of the probability that the next grid
is a new one. Samples come from p̂ alone.

References:
    The Population Frequencies of Species and the Estimation of Population Parameters (Good, 1953), Biometrika 40.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.data.conditions import Condition, TimeOfDay
from smalti.errors import InputError
from smalti.priors.base import TractablePrior
from smalti.priors.sampling import Choice

__all__ = ["Histogram", "Uniform"]

SCORES_AT_ONCE = 1 << 24  # logits of grids held in memory while sampling: 128 MiB


@registered
class Uniform(TractablePrior):
    """Every index equally likely: an index costs log K nats.

    Arguments:
        codebook_size: K.
        grid: (H, W) or (T,).

    Example:
        >>> prior = Uniform(codebook_size=512, grid=(7, 7))
        >>> prior.loss(torch.zeros(1, 7, 7, dtype=torch.int64))  # log 512
        tensor(6.2383)
    """

    def __init__(self, codebook_size: int, grid: Sequence[int]) -> None:
        super().__init__(codebook_size, grid)

    def _log_prob(self, indices: Tensor, context: Tensor | None) -> Tensor:
        nats = self.positions * math.log(self.codebook_size)
        return torch.full((len(indices),), -nats, device=indices.device)

    def _sample(
        self, batch: int, context: Tensor | None, known: Tensor | None, choice: Choice
    ) -> Tensor:
        # Of K equally likely indices, temperature, top-k and top-p leave the first few.
        kept = self.codebook_size if choice.top_k is None else min(choice.top_k, self.codebook_size)
        kept = kept if choice.top_p is None else math.ceil(kept * choice.top_p)
        drawn = choice.integers(1 if choice.temperature == 0 else kept, (batch, *self.grid))
        return drawn if known is None else torch.where(known < 0, drawn.to(known.device), known)


@registered
class Histogram(TractablePrior):
    """The empirical distribution over whole grids, given to it by `fit`.

    With labels, only the grids of the same label count; with times, those at most `minutes` away on the dial, or the
    nearest where there is none. Temperature, top-k and top-p act on whole grids. Known tokens are completed by the grids
    that agree with all of them.

    Arguments:
        codebook_size: K.
        grid: (H, W) or (T,).
        condition: What it is conditioned on, if anything.
        minutes: How far apart two times may be to count as the same.

    Example:
        >>> prior = Histogram(codebook_size=4, grid=(2,))
        >>> prior.fit(torch.tensor([[0, 1], [0, 1], [2, 3]]))
        >>> prior.sample((1, 2), known=torch.tensor([[2, -1]]))
        tensor([[2, 3]])
        >>> prior.log_prob(torch.tensor([[0, 1], [1, 1]])).exp()  # u = 1/3
        tensor([0.4653, 0.0208])
    """

    grids: Tensor
    contexts: Tensor

    def __init__(
        self,
        codebook_size: int,
        grid: Sequence[int],
        condition: Condition | None = None,
        minutes: float = 2.0,
    ) -> None:
        super().__init__(codebook_size, grid, condition)
        if minutes < 0:
            raise InputError(f"minutes must be at least 0, got {minutes}.")
        self.minutes = minutes
        dtype = torch.float32 if condition is None else condition.dtype
        self.register_buffer("grids", torch.empty(0, *self.grid, dtype=torch.int32))
        self.register_buffer("contexts", torch.empty(0, dtype=dtype))
        self.register_load_state_dict_pre_hook(_make_room)
        self._seen: _Seen | None = None

    def fit(self, indices: Tensor, context: Tensor | None = None) -> None:
        """Takes the grids of a training set in place of those it had.

        Arguments:
            indices: (N, *grid), integers in [0, K).
            context: (N,) values of the condition, or None for an unconditional prior.

        Raises:
            InputError: If there are none, or they do not fit the prior.
        """
        indices = self._check_indices(indices)
        if not len(indices):
            raise InputError("A histogram needs at least one grid to be fitted to, got none.")
        context = self._check_context(context, len(indices))
        self.grids = indices.to(torch.int32)
        if context is not None:
            self.contexts = context.to(self.contexts.dtype)
        self._seen = None

    def _log_prob(self, indices: Tensor, context: Tensor | None) -> Tensor:
        seen = self._distinct()
        numbers = torch.tensor([seen.number.get(key, -1) for key in _keys(indices)])
        result = torch.empty(len(indices), dtype=torch.float64)
        uniform = -self.positions * math.log(self.codebook_size)
        for members, rows in self._groups(context, len(indices)):
            total = len(rows)
            counts = torch.bincount(seen.of_row[rows], minlength=len(seen.first) + 1)
            new = 1.0 if total == 0 else float((counts == 1).sum()) / total
            new = min(max(new, 1 / (total + 1)), total / (total + 1)) if total else 1.0
            # Number −1, of a grid that was never seen, finds the last count, which is 0.
            empirical = (counts[numbers[members]] * (1 - new) / max(total, 1)).double().log()
            unseen = torch.tensor(math.log(new) + uniform, dtype=torch.float64)
            result[members] = torch.logaddexp(empirical, unseen)
        return result.to(indices.device, torch.float32)

    def _sample(
        self, batch: int, context: Tensor | None, known: Tensor | None, choice: Choice
    ) -> Tensor:
        if not len(self.grids):
            raise InputError("The histogram has seen no grids: fit it first.")
        grids = self.grids.cpu()
        rows = torch.empty(batch, dtype=torch.int64)
        for members, candidates in self._groups(context, batch):
            if known is None:
                rows[members] = self._draw(candidates, len(members), choice)
                continue
            for member in members.tolist():
                wanted = known[member].cpu()
                agree = ((grids[candidates] == wanted) | (wanted < 0)).flatten(1).all(1)
                rows[member] = self._draw(candidates[agree], 1, choice)
        return grids[rows].to(self.device, torch.int64)

    def _draw(self, candidates: Tensor, n: int, choice: Choice) -> Tensor:
        """n of the stored grids (M,), by row; a distribution over the distinct ones among them."""
        if not len(candidates):
            raise InputError(
                "No grid seen in training fits the context and the known tokens: "
                "leave more of them open, or sample from a learned prior."
            )
        if choice.plain:
            return candidates[choice.integers(len(candidates), (n,)).cpu()]
        seen = self._distinct()
        numbers, counts = seen.of_row[candidates].unique(return_counts=True)
        logits = counts.double().log()
        at_once = max(SCORES_AT_ONCE // len(logits), 1)
        drawn = [choice(logits.expand(len(part), -1)) for part in torch.arange(n).split(at_once)]
        return seen.first[numbers[torch.cat(drawn)]]

    def _groups(self, context: Tensor | None, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """For each different value of the context: who in the batch has it, and the rows of the grids it is about."""
        if context is None:
            yield torch.arange(batch), torch.arange(len(self.grids))
            return
        contexts = self.contexts.cpu()
        values, group = context.cpu().unique(return_inverse=True)
        for number, value in enumerate(values):
            members = (group == number).nonzero()[:, 0]
            if not isinstance(self.condition, TimeOfDay):
                near = contexts == value
            else:
                apart = (contexts - value).abs()
                apart = torch.minimum(apart, self.condition.dial - apart)
                near = apart <= max(self.minutes, float(apart.min()) if len(apart) else 0.0)
            yield members, near.nonzero()[:, 0]

    def _distinct(self) -> _Seen:
        if self._seen is None:
            number: dict[bytes, int] = {}
            of_row = [number.setdefault(key, len(number)) for key in _keys(self.grids)]
            first = torch.zeros(len(number), dtype=torch.int64)
            backwards = torch.arange(len(of_row)).flip(0)
            first[torch.tensor(of_row, dtype=torch.int64).flip(0)] = backwards
            self._seen = _Seen(number, torch.tensor(of_row, dtype=torch.int64), first)
        return self._seen


class _Seen(NamedTuple):
    """The distinct grids among the stored ones, numbered as they come."""

    number: dict[bytes, int]
    of_row: Tensor  # (N,) number of each stored grid
    first: Tensor  # (distinct,) a row with the grid of this number


def _keys(grids: Tensor) -> list[bytes]:
    """Each grid (N, *grid) as something that can be looked up."""
    return [row.tobytes() for row in grids.cpu().to(torch.int32).flatten(1).numpy()]


def _make_room(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before loading: gives the buffers the number of grids that are about to be loaded."""
    assert isinstance(module, Histogram)
    module._seen = None
    for name in ("grids", "contexts"):
        if (found := state.get(prefix + name)) is not None:
            buffer = getattr(module, name)
            setattr(module, name, buffer.new_empty(len(found), *buffer.shape[1:]))
