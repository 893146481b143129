"""Checks which prior fits which model."""

from __future__ import annotations

import torch

from smalti.layout import Layout
from smalti.priors import Prior, TokenPrior

__all__ = ["matches_layout"]


def matches_layout(prior: Prior, layout: Layout) -> bool:
    """Returns whether a prior has the grid and the codebook sizes of each level of a layout."""
    if not isinstance(prior, TokenPrior):
        return False
    if layout.grids == ((),):  # of a whole grid: a prior may know more of where they lie
        sizes = (each.sizes_of_tokens() for each in (prior.layout, layout))
        return prior.layout.shape == layout.shape and torch.equal(*sizes)
    return _levels(prior.layout) == _levels(layout)


def _levels(layout: Layout) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Returns shape and codebook sizes of each level, those of one size as one."""
    return [
        (shape, sizes if len(set(sizes)) > 1 else sizes[:1])
        for sizes, shape in zip(layout.codebook_sizes, layout.shapes, strict=True)
    ]
