"""Masked prior (MaskGIT): draws many indices in parallel in each of a few steps.

In training a share γ of a grid is masked, and predicted from the rest:

    γ = cos(π r / 2), r uniform in [0, 1)           loss = mean of −log p(q_i | not masked, c)

It draws a grid in S steps, where an autoregressive prior takes one step per index. In each step
every masked index is drawn, from its distribution given all indices that are there already. Of the
n that were to be filled in

    ⌊n cos(π s / 2S)⌋             stay masked after step s

and are drawn anew in the next. So the first steps, when little is known, fill in few. The order
says which are kept; where it does not depend on what was drawn, only those are drawn:

    confidence    those of the largest log p(q_i) + τ (1 − s/S) g_i, g_i Gumbel noise, so that it is
                  not always the same ones that come first; τ is the choice temperature
    halton        positions far from each other, see `smalti.priors.orders`
    random        any, at random

Indices that are drawn in one step are independent of each other: fewer steps are faster and worse.
Any part of a grid may be given (inpainting): the network sees known indices in all directions.

References:
    MaskGIT: Masked Generative Image Transformer, H. Chang et al., 2022, arXiv 2202.04200.
    Halton Scheduler For Masked Generative Image Transformer, V. Besnier et al., 2025, arXiv
    2503.17076.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from smalti.artifacts import registered
from smalti.conditions import Condition
from smalti.errors import InputError
from smalti.priors.bidirectional import (
    BidirectionalPrior,
    Guide,
    Rows,
    draw_at,
    draw_masks,
    ranks,
    uniform_numbers,
)
from smalti.priors.orders import halton_ranks
from smalti.priors.sampling import SamplingConfig

__all__ = ["ORDERS", "MaskedPrior"]

ORDERS = ("confidence", "halton", "random")
STEPS, ORDER, CHOICE_TEMPERATURE = 12, "halton", 4.5


@registered
class MaskedPrior(BidirectionalPrior):
    """Draws grids of indices in few steps, each of which fills in many; any part may be given.

    It has no likelihood, and no bound on one: the order of its draws depends on what it draws. The
    loss is the mean of −log p over masked indices in nats, with a random share of each grid masked.

    Arguments:
        codebook_size: K; or that of each of the Q codebooks of a position, which may differ.
        grid: (H, W) or (T,); with Q codebooks (H, W, Q) or (T, Q).
        condition: The condition, such as a label; None for an unconditional prior.
        hidden: Channels of the transformer.
        layers: Its layers.
        heads: Heads of its attention; they share the channels.
        dropout: Probability that an output of a layer is dropped in training; in recipes also
            "auto".

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> prior = MaskedPrior(codebook_size=16, grid=(4, 4), hidden=8, layers=1, heads=2)
        >>> prior.sample(2, config=SamplingConfig(steps=4, order="halton")).shape
        torch.Size([2, 4, 4])
    """

    takes = frozenset(
        {"temperature", "top_k", "top_p", "guidance", "steps", "order", "choice_temperature"}
    )

    def __init__(
        self,
        codebook_size: int | Sequence[int],
        grid: Sequence[int],
        condition: Condition | None = None,
        hidden: int = 128,
        layers: int = 6,
        heads: int = 4,
        dropout: float | Literal["auto"] = 0.0,
    ) -> None:
        super().__init__(codebook_size, grid, condition, hidden, layers, heads, dropout)

    def _loss(self, rows: Rows, generator: torch.Generator | None) -> Tensor:
        batch, device = len(rows.indices), rows.indices.device
        # Stratified r, one from each part of [0, 1): batches differ less.
        r = torch.arange(batch, device=device) + uniform_numbers((batch,), device, generator)
        share = (math.pi / 2 * r / batch).cos()
        masked = draw_masks((share * rows.counts.sum(1)).ceil().long(), rows.counts, generator)
        return self._nats(rows, masked).sum() / masked.sum()

    def _check_config(self, config: SamplingConfig) -> SamplingConfig:
        config = super()._check_config(config)
        order = config.order or ORDER
        if order not in ORDERS:
            raise InputError(
                f"A {type(self).__name__} draws in the order {', '.join(ORDERS[:-1])} or "
                f"{ORDERS[-1]}, got {order!r:.40}: choose one of them."
            )
        if config.choice_temperature is not None and order != "confidence":
            raise InputError(
                f"A choice_temperature is of the order confidence, got {config.choice_temperature} "
                f"with the order {order}: leave it out, or take that order."
            )
        return config

    def _sample(
        self,
        n: int,
        context: Tensor | None,
        known: Tensor | None,
        config: SamplingConfig,
        generator: torch.Generator | None,
    ) -> Tensor:
        drawn = torch.full((n, self.positions), -1, device=self.device)
        if known is not None:
            drawn.copy_(known.flatten(1))
        missing = (drawn < 0).sum(1)
        steps = min(config.steps or STEPS, int(missing.max()) if n else 0)
        with torch.autocast(self.device.type, enabled=False):
            guide = Guide(self, context, config.guidance)
            for step in range(1, steps + 1):
                masked = drawn < 0
                left = (missing * math.cos(math.pi / 2 * step / steps)).floor().long()
                left = left.minimum(masked.sum(1) - 1).clamp(min=0)  # one is filled in at least
                if (config.order or ORDER) == "confidence":
                    logits = guide.logits(drawn, masked)
                    fresh = draw_at(logits, masked, config, generator)
                    scores = self._confidence(logits, fresh, config, 1 - step / steps, generator)
                    kept = keep(scores, masked, left)
                else:  # which are kept does not depend on what they are: no others are drawn
                    kept = keep(self._scores(drawn, config, generator), masked, left)
                    fresh = draw_at(guide.logits(drawn, kept), kept, config, generator)
                drawn = torch.where(kept, fresh, drawn)
        return drawn.unflatten(1, self.grid)

    def _scores(
        self, drawn: Tensor, config: SamplingConfig, generator: torch.Generator | None
    ) -> Tensor:
        """Returns which indices to keep first whatever they are, the largest scores, (B, L)."""
        if config.order == "random":
            return uniform_numbers(drawn.shape, drawn.device, generator)
        return -halton_ranks(self.layout).to(drawn.device).expand_as(drawn).float()

    def _confidence(
        self,
        logits: Tensor,
        fresh: Tensor,
        config: SamplingConfig,
        luck: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Returns which of fresh indices to keep first, the largest scores, (B, L).

        Arguments:
            logits: (M, K), of the M masked indices.
            fresh: (B, L), −1 where not masked.
            config: The options.
            luck: The weight of luck, of the choice temperature.
            generator: Source of randomness.
        """
        masked = fresh >= 0
        of_masked = logits.gather(-1, fresh[masked][:, None])[:, 0] - logits.logsumexp(-1)
        scores = logits.new_zeros(fresh.shape).masked_scatter(masked, of_masked)
        temperature = config.choice_temperature
        luck *= CHOICE_TEMPERATURE if temperature is None else temperature
        if not luck or config.certain:
            return scores
        u = uniform_numbers(fresh.shape, fresh.device, generator)
        return scores - luck * (-u.clamp(min=1e-12).log()).clamp(min=1e-12).log()


def keep(scores: Tensor, masked: Tensor, left: Tensor) -> Tensor:
    """Returns which masked indices (B, L) to keep: those of the largest scores, all but `left`."""
    return masked & (ranks(scores.masked_fill(~masked, torch.inf)) >= left[:, None])
