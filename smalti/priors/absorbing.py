"""Discrete diffusion over tokens, whose noise is a mask that absorbs.

Forwards, from time 0 to 1, each index of a grid is masked at a time of its own, uniform in [0, 1];
once masked it stays so. At time t a share t of them is masked on average. Backwards a network tells
what is behind the masks, all of which it gives a distribution p of its own. In the limit of many
steps,

    −log p(q) ≤ ∫ 1/t E[Σ_{i masked at t} −log p(q_i | not masked, c)] dt

Of n indices m are masked at a random time, m = 1 … n and any m of them being equally likely in the
sense of that integral, so that it can be taken over the time in closed form:

    bound = Σ_m E[mean_{i masked} −log p(q_i | not masked, c)],  any m of n masked

Its mean over m is the loss, in nats per index. Equality would hold if the distribution did not
depend on the order in which indices appear.

A grid is drawn backwards from masks alone in S steps: at time t, of each mask that is there at that
time, with the probability 1/(S t) the index behind it appears, drawn from p. What appears in one
step does not know of each other. Any part of a grid may be given.

References:
    Structured Denoising Diffusion Models in Discrete State-Spaces, J. Austin et al., 2021, arXiv
    2107.03006.
    Simple and Effective Masked Diffusion Language Models, S. S. Sahoo et al., 2024, arXiv
    2406.07524.
    Autoregressive Diffusion Models, E. Hoogeboom et al., 2021, arXiv 2110.02037 (the sum over m).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from smalti.artifacts import registered
from smalti.conditions import Condition
from smalti.priors.bidirectional import (
    BidirectionalPrior,
    Guide,
    Rows,
    draw_at,
    draw_masks,
    ranks,
    uniform_numbers,
)
from smalti.priors.bounded import BoundedPrior
from smalti.priors.sampling import SamplingConfig

__all__ = ["AbsorbingDiffusion"]

STEPS = 32


@registered
class AbsorbingDiffusion(BidirectionalPrior, BoundedPrior):
    """Draws grids by diffusion backwards from masks, and bounds their likelihood.

    The loss is the bound of −log p, in nats per index. At temperature 0, or of the likeliest index
    alone, those it is surest of appear first, in equal numbers, for nothing is left to luck.

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
        >>> prior = AbsorbingDiffusion(codebook_size=16, grid=(4, 4), hidden=8, layers=1, heads=2)
        >>> prior.sample(2, config=SamplingConfig(steps=8)).shape
        torch.Size([2, 4, 4])
        >>> prior.bound(torch.zeros(3, 4, 4, dtype=torch.int64)).shape
        torch.Size([3])
    """

    takes = frozenset({"temperature", "top_k", "top_p", "guidance", "steps"})

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
        # One in each part of [0, 1): the batches differ less than with any.
        u = torch.arange(batch, device=device) + uniform_numbers((batch,), device, generator)
        return self._estimates(rows, u / batch, generator).sum() / rows.counts.sum()

    def _bound(
        self,
        indices: Tensor,
        context: Tensor | None,
        draws: int,
        generator: torch.Generator | None,
    ) -> Tensor:
        rows = self._rows(indices, context, None)
        total = torch.zeros(len(indices), device=indices.device)
        for draw in range(draws if len(indices) else 0):
            u = draw + uniform_numbers((len(indices),), indices.device, generator)
            total = total + self._estimates(rows, u / draws, generator)
        return total / draws

    def _estimates(self, rows: Rows, u: Tensor, generator: torch.Generator | None) -> Tensor:
        """Estimates the bound of each row (B,) by masking 1 + ⌊n u⌋ of its n indices."""
        n = rows.counts.sum(1)
        m = (1 + (n * u).long()).minimum(n)
        nats = self._nats(rows, draw_masks(m, rows.counts, generator))
        return nats.sum(1) * n / m

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
        missing, steps = (drawn < 0).sum(1), config.steps or STEPS
        with torch.autocast(self.device.type, enabled=False):
            guide = Guide(self, context, config.guidance)
            for left in range(steps - 1, -1, -1):
                masked = appears = drawn < 0
                if not config.certain:
                    u = uniform_numbers(drawn.shape, self.device, generator)
                    appears = masked & (u * (left + 1) < 1)
                if not bool(appears.any()):
                    continue
                logits = guide.logits(drawn, appears)
                fresh = draw_at(logits, appears, config, generator)
                if config.certain:  # so far all that is masked
                    sure = logits.new_full(drawn.shape, torch.inf)
                    sure[masked] = logits.amax(-1) - logits.logsumexp(-1)
                    appears = masked & (ranks(sure) >= (missing * left // steps)[:, None])
                drawn = torch.where(appears, fresh, drawn)
        return drawn.unflatten(1, self.grid)
