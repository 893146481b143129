"""Makes the uniform prior over the tokens of a model, and checks which prior fits which model."""

from __future__ import annotations

from smalti.layout import Layout
from smalti.priors import Cascade, Prior, TokenPrior, Uniform

__all__ = ["matches_layout", "uniform_prior"]


def uniform_prior(layout: Layout) -> TokenPrior:
    """Makes the uniform prior over token grids: every index of every level is equally likely."""
    levels = [
        Uniform(max(sizes), shape)
        for sizes, shape in zip(layout.codebook_sizes, layout.shapes, strict=True)
    ]
    return levels[0] if len(levels) == 1 else Cascade(levels)


def matches_layout(prior: Prior, layout: Layout) -> bool:
    """Returns whether a prior has the grid and the codebook size of each level of a layout."""
    priors = prior.levels if isinstance(prior, Cascade) else (prior,)
    ours = [
        (level.grid, {level.codebook_size}) if isinstance(level, TokenPrior) else None
        for level in priors
    ]
    theirs = [
        (shape, set(sizes))
        for sizes, shape in zip(layout.codebook_sizes, layout.shapes, strict=True)
    ]
    return ours == theirs
