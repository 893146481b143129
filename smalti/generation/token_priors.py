"""Priors over the tokens of a model beside the learned one, to compare it with."""

from __future__ import annotations

from smalti.artifacts import checksum
from smalti.conditions import Condition
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.priors import Cascade, Histogram, Prior, TokenPrior, Uniform
from smalti.runs import Run
from smalti.tokens import cached_tokenizer, read_cache

__all__ = ["belong_together", "histogram", "uniform"]


def uniform(layout: Layout) -> TokenPrior:
    """Makes the prior under which every index of every level is equally likely."""
    levels = [
        Uniform(max(sizes), shape)
        for sizes, shape in zip(layout.codebook_sizes, layout.shapes, strict=True)
    ]
    return levels[0] if len(levels) == 1 else Cascade(levels)


def histogram(run: Run, layout: Layout, condition: Condition | None) -> Histogram:
    """Fits a histogram to the tokens of a run's training set.

    Raises:
        InputError: If the tokens are missing, damaged or of another tokenizer.
    """
    if cached_tokenizer(run.tokens) not in (None, checksum(run.tokenizer)):
        raise InputError(
            f"The {run.tokens} are of another tokenizer: give the same smalti fit again, which "
            f"makes them anew."
        )
    made = Histogram(layout.largest, layout.shape, condition)
    cached = read_cache(run.tokens, "train")
    made.fit(layout.pack(cached.levels), None if condition is None else cached.context)
    return made


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
