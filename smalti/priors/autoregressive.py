"""Autoregressive priors: p(q) = Π_i p(q_i | q_<i), the tokens i in an order of the prior's.

One forward pass over a whole grid gives all factors at once: so such a prior is trained and scored.
Drawing needs them one after another, each given what was drawn before. A `Stepper` walks over the
grid and keeps what the positions to come will need, so that a step costs the work of one position
and not of the whole grid; its logits are those of the full pass. An entropy coder walks the same
way, when it writes and when it reads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.priors.sampling import SamplingConfig
from smalti.priors.token_prior import TractablePrior

__all__ = ["AutoregressivePrior", "Stepper"]


class Stepper(ABC):
    """Abstract: samples a batch of grids token by token, in the `order` of the prior.

    It begins at the first token of that order. `logits` is the distribution of the current token;
    `push` puts an index there and moves on. There are no gradients.
    """

    @abstractmethod
    def logits(self) -> Tensor:
        """Returns the logits (B, K) of p(q_i | those before, context) of the current token i."""

    @abstractmethod
    def push(self, indices: Tensor) -> None:
        """Sets q_i to indices (B,), int64, and goes on to the next token of the order."""


class AutoregressivePrior(TractablePrior):
    """Abstract: a prior with one categorical distribution per token, given those before it.

    Before a token are all or some of those that come earlier in `order`.
    """

    tabular = True
    takes = frozenset({"temperature", "top_k", "top_p", "guidance"})

    @property
    def order(self) -> Tensor:
        """Returns the order of the tokens, (L,) int64: the flat places that a stepper goes through.

        It is that of reading, unless a prior has another.
        """
        return torch.arange(self.positions)

    @abstractmethod
    def logits(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns logits (B, *grid, K) of every position, given the indices (B, *grid) before it.

        The arguments are not checked: `log_prob`, `loss` and `sample` do that.
        """

    @abstractmethod
    def start(self, batch: int, context: Tensor | None = None) -> Stepper:
        """Returns a stepper at the first position of `batch` grids, with context (B,) if any.

        Its logits are those of evaluation mode.
        """

    def loss_of_noisy(self, indices: Tensor, context: Tensor | None, noise: float) -> Tensor:
        """Computes `loss` with each index that is seen, not those predicted, replaced at random.

        Arguments:
            indices: (B, *grid), integers in [0, K).
            context: See `loss`.
            noise: Probability that an index is replaced, by any with the same probability.

        Raises:
            InputError: If the indices or the context do not fit the prior.
        """
        indices = self._check_indices(indices)
        context = self._check_context(context, len(indices))
        replaced = torch.rand(indices.shape, device=indices.device) < noise
        seen = indices.where(~replaced, self._any_like(indices))
        return self._nats(seen, indices, context).sum() / max(indices.numel(), 1)

    def _any_like(self, indices: Tensor) -> Tensor:
        """Draws as many indices, each any of its codebook with the same probability."""
        if len(set(self.layout.sizes)) == 1:
            return torch.randint_like(indices, self.codebook_size)
        sizes = self.layout.sizes_of_tokens().view(self.grid).to(indices.device)
        return (torch.rand(indices.shape, device=indices.device) * sizes).long()

    def _log_prob(self, indices: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        nats = self._nats(indices, indices, context)
        if mask is not None:
            nats = nats.masked_fill(~mask.flatten(), 0)
        return -nats.view(-1, self.positions).sum(1)

    def _nats(self, seen: Tensor, indices: Tensor, context: Tensor | None) -> Tensor:
        """Computes −log p of each index, where others are seen before it, in one row."""
        logits = self.logits(seen, context).flatten(0, -2)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # never in half
        return F.cross_entropy(logits, indices.flatten(), reduction="none")

    def _sample(
        self,
        n: int,
        context: Tensor | None,
        known: Tensor | None,
        config: SamplingConfig,
        generator: torch.Generator | None,
    ) -> Tensor:
        drawn = torch.full((n, self.positions), -1, dtype=torch.int64, device=self.device)
        if known is not None:
            drawn.copy_(known.flatten(1))
        missing = drawn < 0
        somewhere, everywhere = missing.any(0).tolist(), missing.all(0).tolist()

        with torch.autocast(self.device.type, enabled=False):
            stepper = (
                self.start(n, context)
                if context is None or config.guidance == 1
                else _GuidedStepper(self, n, context, config.guidance)
            )
            order = self.order.tolist()
            for i in order:
                if somewhere[i]:
                    fresh = config.draw(stepper.logits(), generator)
                    old = drawn[:, i]
                    drawn[:, i] = fresh if everywhere[i] else torch.where(old < 0, fresh, old)
                if i != order[-1]:
                    stepper.push(drawn[:, i])
        return drawn.unflatten(1, self.grid)


class _GuidedStepper(Stepper):
    """Steps with and without a context at once: ℓ_null + g (ℓ_context − ℓ_null).

    Arguments:
        prior: Whose condition may be left out.
        batch: B.
        context: (B, *shape).
        guidance: g.
    """

    def __init__(
        self, prior: AutoregressivePrior, batch: int, context: Tensor, guidance: float
    ) -> None:
        assert prior.condition is not None
        both = torch.cat([context, prior.condition.without(context)])
        self.stepper, self.guidance = prior.start(2 * batch, both), guidance

    def logits(self) -> Tensor:
        """Returns (B, K); see `Stepper.logits`."""
        given, null = self.stepper.logits().chunk(2)
        return null + self.guidance * (given - null)

    def push(self, indices: Tensor) -> None:
        """See `Stepper.push`."""
        self.stepper.push(indices.repeat(2))
