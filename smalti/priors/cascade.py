"""A cascade of priors, one for each level of a hierarchical tokenizer, coarse to fine.

    p(q_1 … q_L | c) = p(q_1 | c) Π_l p(q_l | q_1 … q_{l−1}, c)

Each prior is learned by itself: the coarsest is conditioned on c, if on anything, and every finer
one on all the grids above it (`CoarseTokens`). Together they are one prior over rows that hold the
indices of all levels side by side, (B, L), coarse to fine. The class says which likelihood it has:

    Cascade                     exact: every level has a likelihood, and log p is their sum
    BoundedCascade              a bound: some levels only have a bound on −log p
    CascadeWithoutLikelihood    none: some levels have neither, such as a MaskedPrior

References:
    Generating Diverse High-Fidelity Images with VQ-VAE-2, A. Razavi, A. van den Oord and O.
    Vinyals, 2019, arXiv 1906.00446, section 3.2.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.conditions import CoarseTokens
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.priors.bounded import BoundedPrior
from smalti.priors.empirical import Uniform
from smalti.priors.sampling import SamplingConfig
from smalti.priors.token_prior import TokenPrior, TractablePrior

__all__ = [
    "BoundedCascade",
    "Cascade",
    "CascadeWithoutLikelihood",
    "LevelPriors",
    "cascade_of",
    "uniform_prior",
    "uniform_prior_like",
]

OF_SOME = ("steps", "order", "choice_temperature")  # ignored by levels that do not take them


class LevelPriors(TokenPrior, ABC):
    """Abstract: the priors of all levels of a hierarchy as one prior over rows of indices (B, L).

    `codebook_size` is the largest of all levels, and `layout` says where the indices of a level
    are. An option of sampling applies to the levels that take it; at least one must.

    Arguments:
        priors: Coarse to fine. Those of the finer levels are conditioned on `CoarseTokens` of all
            levels above, or on nothing.

    Raises:
        InputError: If a finer prior is conditioned on something else.
    """

    def __init__(self, priors: Sequence[TokenPrior]) -> None:
        if not priors:
            raise InputError("A cascade takes the prior of each level, got none: give at least 1.")
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
    def takes(self) -> frozenset[str]:  # type: ignore[override]
        """Returns the options of sampling that at least one level takes."""
        always = {"temperature", "top_k", "top_p", "guidance"}
        return frozenset(always).union(*(prior.takes for prior in self.levels))

    @property
    def levels(self) -> tuple[TokenPrior, ...]:
        """Returns the priors, coarse to fine."""
        return tuple(self.priors)  # type: ignore[arg-type]

    def given(
        self, indices: Tensor, context: Tensor | None
    ) -> Iterator[tuple[TokenPrior, Tensor, Tensor | None]]:
        """Yields the prior of each level, its grid from checked rows, and its context."""
        grids = self.layout.unpack(indices)
        for level, prior in enumerate(self.levels):
            given = _given(prior, grids[:level], context)
            yield prior, grids[level], prior._check_context(given, len(indices))

    def context_of_level(
        self, level: int, indices: Tensor, context: Tensor | None
    ) -> Tensor | None:
        """Returns the context of a level's prior, of the coarser levels in rows (B, L) alone.

        Arguments:
            level: From 0, the coarsest.
            indices: (B, L); those of this level and of finer ones may be anything.
            context: (B, *shape) values of the condition, or None for an unconditional cascade.
        """
        return _given(self.levels[level], self.layout.unpack(indices)[:level], context)

    def _no_likelihood(self) -> InputError:
        """Makes the error that says which levels have no likelihood."""
        kinds = [type(p).__name__ for p in self.levels if not isinstance(p, TractablePrior)]
        return InputError(
            f"A {type(self).__name__} has no likelihood that could be computed, for that of "
            f"{' and '.join(dict.fromkeys(kinds))} cannot be, got log_prob: choose priors of the "
            f"levels that have one, such as PixelCNN."
        )

    def _mean_loss(self, latents: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        """Returns the mean of the losses of all levels per index that counts, a scalar."""
        latents, mask = self._check_mask(latents, mask)
        indices = self._check_indices(latents)
        context = self._check_context(context, len(indices))
        counts = torch.ones_like(indices, dtype=torch.bool) if mask is None else mask
        of_levels = zip(self.given(indices, context), self.layout.unpack(counts), strict=True)
        losses = [
            prior.loss(grid, given, counting) * counting.sum()
            for (prior, grid, given), counting in of_levels
        ]
        return torch.stack(losses).sum() / counts.sum().clamp(min=1)

    def _check_config(self, config: SamplingConfig) -> SamplingConfig:
        config = super()._check_config(config)
        for prior in self.levels:
            prior._check_config(_config_of(prior, config))
        return config

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
            grids.append(
                prior.sample(
                    n,
                    _given(prior, grids, context),
                    known=None if wanted is None else wanted[level],
                    config=_config_of(prior, config),
                    generator=generator,
                )
            )
        return self.layout.pack(grids)


@registered
class Cascade(LevelPriors, TractablePrior):
    """Combines priors of levels, each with a likelihood, to one prior over rows of indices (B, L).

    `codebook_size` is the largest of all levels, and `layout` says where the indices of a level
    are.

    Arguments:
        priors: Coarse to fine, each with a likelihood. Those of the finer levels are conditioned on
            `CoarseTokens` of all levels above, or on nothing.

    Raises:
        InputError: If a prior has no likelihood, or a finer one is conditioned on something else.

    Example:
        >>> from smalti.priors import PixelCNN
        >>> top = PixelCNN(16, (2, 2), hidden=8, layers=1)
        >>> bottom = PixelCNN(32, (4, 4), CoarseTokens([16], [(2, 2)]), hidden=8, layers=1)
        >>> Cascade([top, bottom]).sample(3).shape
        torch.Size([3, 20])
    """

    def __init__(self, priors: Sequence[TractablePrior]) -> None:
        for prior in priors:
            if not isinstance(prior, TractablePrior):
                raise InputError(
                    f"The priors of a Cascade have a likelihood each, a {type(prior).__name__} has "
                    f"none: make a BoundedCascade or a CascadeWithoutLikelihood of them."
                )
        super().__init__(priors)

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
        masks = [None] * len(self.levels) if mask is None else self.layout.unpack(mask)
        for (prior, grid, given), counts in zip(self.given(indices, context), masks, strict=True):
            assert isinstance(prior, TractablePrior)
            yield prior._log_prob(grid, given, counts)


@registered
class BoundedCascade(LevelPriors, BoundedPrior):
    """Combines priors of levels, some with only a bound on −log p, to one whose bound is the sum.

    The loss is the mean loss of the levels in nats per index, an estimate of that bound.

    Arguments:
        priors: Coarse to fine, each with a likelihood or a bound on it, such as a PixelCNN or an
            AbsorbingDiffusion; see `Cascade`.

    Raises:
        InputError: If a prior has neither, or a finer one is conditioned on something else.

    Example:
        >>> from smalti.priors import AbsorbingDiffusion
        >>> small = {"hidden": 8, "layers": 1, "heads": 2}
        >>> top = AbsorbingDiffusion(16, (2, 2), **small)
        >>> bottom = AbsorbingDiffusion(32, (4, 4), CoarseTokens([16], [(2, 2)]), **small)
        >>> BoundedCascade([top, bottom]).bound(torch.zeros(3, 20, dtype=torch.int64)).shape
        torch.Size([3])
    """

    def __init__(self, priors: Sequence[TractablePrior | BoundedPrior]) -> None:
        for prior in priors:
            if not isinstance(prior, TractablePrior | BoundedPrior):
                raise InputError(
                    f"The priors of a BoundedCascade have a likelihood each, or a bound on it, a "
                    f"{type(prior).__name__} has none: make a CascadeWithoutLikelihood of them."
                )
        super().__init__(priors)

    def log_prob(self, indices: Tensor, context: Tensor | None = None) -> NoReturn:
        """Raises `InputError`, whose message says which levels have no likelihood."""
        raise self._no_likelihood()

    def loss(
        self, latents: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """See `Prior.loss`."""
        return self._mean_loss(latents, context, mask)

    def bounds(
        self,
        indices: Tensor,
        context: Tensor | None = None,
        *,
        draws: int = 8,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Estimates the bound of each level given those above, in nats, (B, L); see `bound`."""
        indices = self._check_indices(indices)
        context = self._check_context(context, len(indices))
        return torch.stack(list(self._levels_bound(indices, context, draws, generator)), 1)

    def _bound(
        self,
        indices: Tensor,
        context: Tensor | None,
        draws: int,
        generator: torch.Generator | None,
    ) -> Tensor:
        return torch.stack(list(self._levels_bound(indices, context, draws, generator))).sum(0)

    def _levels_bound(
        self,
        indices: Tensor,
        context: Tensor | None,
        draws: int,
        generator: torch.Generator | None,
    ) -> Iterator[Tensor]:
        """Yields the bound, or −log p itself, of each level given the coarser ones."""
        for prior, grid, given in self.given(indices, context):
            if isinstance(prior, BoundedPrior):
                yield prior._bound(grid, given, draws, generator)
            else:
                assert isinstance(prior, TractablePrior)
                yield -prior._log_prob(grid, given, None)


@registered
class CascadeWithoutLikelihood(LevelPriors):
    """Combines priors of levels, some without any likelihood, to one that can only be sampled.

    The loss is the mean loss of the levels per index. It bounds nothing.

    Arguments:
        priors: Coarse to fine, of any kinds; see `Cascade`.

    Raises:
        InputError: If a finer prior is conditioned on something else than the levels above it.

    Example:
        >>> from smalti.priors import MaskedPrior
        >>> small = {"hidden": 8, "layers": 1, "heads": 2}
        >>> top = MaskedPrior(16, (2, 2), **small)
        >>> bottom = MaskedPrior(32, (4, 4), CoarseTokens([16], [(2, 2)]), **small)
        >>> CascadeWithoutLikelihood([top, bottom]).sample(3).shape
        torch.Size([3, 20])
    """

    def log_prob(self, indices: Tensor, context: Tensor | None = None) -> NoReturn:
        """Raises `InputError`, whose message says which levels have no likelihood."""
        raise self._no_likelihood()

    def loss(
        self, latents: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """See `Prior.loss`."""
        return self._mean_loss(latents, context, mask)


def cascade_of(priors: Sequence[TokenPrior]) -> LevelPriors:
    """Combines the priors of all levels, coarse to fine, in the class with the best likelihood.

    That is `Cascade` if all priors have a likelihood, `BoundedCascade` if all have at least a
    bound on it, and `CascadeWithoutLikelihood` otherwise.

    Raises:
        InputError: See `LevelPriors`.
    """
    if all(isinstance(prior, TractablePrior) for prior in priors):
        return Cascade(priors)  # type: ignore[arg-type]
    if all(isinstance(prior, TractablePrior | BoundedPrior) for prior in priors):
        return BoundedCascade(priors)  # type: ignore[arg-type]
    return CascadeWithoutLikelihood(priors)


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


def _config_of(prior: TokenPrior, config: SamplingConfig) -> SamplingConfig:
    """Returns the options of sampling without those that the prior of a level does not take."""
    passed_over: dict[str, Any] = {
        field.name: field.default
        for field in fields(config)
        if field.name in OF_SOME and field.name not in prior.takes
    }
    config = replace(config, **passed_over)
    if prior.condition is not None and prior.condition.optional:
        return config
    return replace(config, guidance=1)  # guidance is of the condition, not of coarser grids


def _given(prior: TokenPrior, above: Sequence[Tensor], context: Tensor | None) -> Tensor | None:
    """Returns the context of a level's prior: the coarser grids and the context, or that alone."""
    if not isinstance(prior.condition, CoarseTokens):
        return None if prior.condition is None else context
    return prior.condition.pack(above, None if prior.condition.base_condition is None else context)


def _check(level: int, prior: TokenPrior, above: Sequence[TokenPrior]) -> None:
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
