"""Priors over the tokens of a model: the one that knows nothing, and which is of which model."""

from __future__ import annotations

from smalti.layout import Layout
from smalti.priors import Cascade, Prior, TokenPrior, Uniform

__all__ = ["belong_together", "uniform"]


def uniform(layout: Layout) -> TokenPrior:
    """Makes the prior under which every index of every level is equally likely."""
    levels = [
        Uniform(max(sizes), shape)
        for sizes, shape in zip(layout.codebook_sizes, layout.shapes, strict=True)
    ]
    return levels[0] if len(levels) == 1 else Cascade(levels)


def belong_together(prior: Prior, layout: Layout) -> bool:
    """Returns whether a prior has the grids and codebook sizes of the layout, level by level."""
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
