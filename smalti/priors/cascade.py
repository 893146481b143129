"""A cascade of priors, one for each level of a hierarchical tokenizer, coarse to fine.

    p(q_1 … q_L | c) = p(q_1 | c) Π_l p(q_l | q_1 … q_{l−1}, c)

Each prior is learned by itself: the coarsest is conditioned on c, if on anything, and every finer
one on all the grids above it (`CoarseTokens`). Together they are one prior over rows that hold the
indices of all levels side by side, (B, L), coarse to fine.

References:
    Generating Diverse High-Fidelity Images with VQ-VAE-2, A. Razavi, A. van den Oord and O.
    Vinyals, 2019, arXiv 1906.00446, section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.conditions import CoarseTokens
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.priors.empirical import Uniform
from smalti.priors.sampling import SamplingConfig
from smalti.priors.token_prior import TokenPrior, TractablePrior

__all__ = ["Cascade", "check_tractable", "uniform_prior", "uniform_prior_like"]


@registered
class Cascade(TractablePrior):
    """Combines the priors of all levels of a hierarchy to one prior over rows of indices (B, L).

    Its `codebook_size` is the largest of the levels', and `layout` says how their indices lie.

    Arguments:
        priors: Coarse to fine, each with a likelihood. Those of the finer levels are conditioned on
            `CoarseTokens` of all levels above, or on nothing.

    Raises:
        InputError: If a finer prior is conditioned on something else.

    Example:
        >>> from smalti.priors import PixelCNN
        >>> top = PixelCNN(16, (2, 2), hidden=8, layers=1)
        >>> bottom = PixelCNN(32, (4, 4), CoarseTokens([16], [(2, 2)]), hidden=8, layers=1)
        >>> Cascade([top, bottom]).sample(3).shape
        torch.Size([3, 20])
    """

    takes = frozenset({"temperature", "top_k", "top_p", "guidance"})

    def __init__(self, priors: Sequence[TractablePrior]) -> None:
        if not priors:
            raise InputError("A cascade takes the prior of each level, got none: give at least 1.")
        for prior in priors:
            check_tractable(prior)
        layout = Layout(
            tuple(grid for prior in priors for grid in prior.layout.grids),
            tuple(sizes for prior in priors for sizes in prior.layout.codebook_sizes),
        )
        super().__init__(layout.largest, layout.shape, priors[0].condition)
        self.layout = layout
        for level, prior in enumerate(priors[1:], 1):
            _check(level, prior, priors[:level])
        self.priors = nn.ModuleList(priors)

    @property
    def levels(self) -> tuple[TractablePrior, ...]:
        """Returns the priors, coarse to fine."""
        return tuple(self.priors)  # type: ignore[arg-type]

    def log_probs(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """Computes log p of each level given those above, in nats, (B, L); the sum is `log_prob`.

        Arguments:
            indices: (B, L).
            context: (B,) values of the condition, or None for an unconditional cascade.

        Raises:
            InputError: If the indices or the context do not fit.
        """
        indices = self._check_indices(indices)
        context = self._check_context(context, len(indices))
        return torch.stack(list(self._levels_log_prob(indices, context, None)), 1)

    def _log_prob(self, indices: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        return torch.stack(list(self._levels_log_prob(indices, context, mask))).sum(0)

    def _levels_log_prob(
        self, indices: Tensor, context: Tensor | None, mask: Tensor | None
    ) -> Iterator[Tensor]:
        """Yields log p of each level given the coarser ones, coarse to fine."""
        grids = self.layout.unpack(indices)
        masks = [None] * len(grids) if mask is None else self.layout.unpack(mask)
        for level, prior in enumerate(self.levels):
            given = _given(prior, grids[:level], context)
            yield prior._log_prob(
                grids[level], prior._check_context(given, len(indices)), masks[level]
            )

    def _sample(
        self,
        n: int,
        context: Tensor | None,
        known: Tensor | None,
        config: SamplingConfig,
        generator: torch.Generator | None,
    ) -> Tensor:
        wanted = None if known is None else self.layout.unpack(known)
        grids: list[Tensor] = []
        for level, prior in enumerate(self.levels):
            given = prior.condition is not None and prior.condition.optional
            grids.append(
                prior.sample(
                    n,
                    _given(prior, grids, context),
                    known=None if wanted is None else wanted[level],
                    # Guidance is of what the context says, not of the grids above.
                    config=config if given else replace(config, guidance=1),
                    generator=generator,
                )
            )
        return self.layout.pack(grids)


def check_tractable(prior: TokenPrior) -> None:
    """Raises `InputError` unless a prior has a likelihood, as those of a hierarchy have."""
    if not isinstance(prior, TractablePrior):
        raise InputError(
            f"The priors of several levels have a likelihood each, a {type(prior).__name__} has "
            f"none: choose one that has, e.g. PixelCNN."
        )


def uniform_prior(layout: Layout) -> TractablePrior:
    """Makes the uniform prior over token grids: every index of every level is equally likely."""
    levels = [
        Uniform(sizes[0] if len(set(sizes)) == 1 else sizes, shape)
        for sizes, shape in zip(layout.codebook_sizes, layout.shapes, strict=True)
    ]
    return levels[0] if len(levels) == 1 else Cascade(levels)


def uniform_prior_like(prior: TokenPrior) -> TractablePrior:
    """Makes the uniform prior over the same grids and codebooks as another prior has."""
    return uniform_prior(prior.layout)


def _given(prior: TokenPrior, above: Sequence[Tensor], context: Tensor | None) -> Tensor | None:
    """Returns the context of a level's prior: the coarser grids and the context, or that alone."""
    if not isinstance(prior.condition, CoarseTokens):
        return None if prior.condition is None else context
    return prior.condition.pack(above, None if prior.condition.base_condition is None else context)


def _check(level: int, prior: TractablePrior, above: Sequence[TractablePrior]) -> None:
    """Raises `InputError` unless a prior is conditioned on the grids above it, or on nothing."""
    if prior.condition is None:
        return
    grids = tuple(coarser.grid for coarser in above)
    sizes = tuple(coarser.codebook_size for coarser in above)
    condition = prior.condition
    base = condition.base_condition if isinstance(condition, CoarseTokens) else None
    if (
        not isinstance(condition, CoarseTokens)
        or (condition.grids, condition.codebook_sizes) != (grids, sizes)
        or not (base is None or base.equals(above[0].condition))
    ):
        raise InputError(
            f"The prior of level {level} is conditioned on {condition}: give it CoarseTokens of "
            f"the codebook sizes {sizes} and grids {grids}, and of the coarsest prior's condition."
        )
