"""Reranks candidates: of several samples for each caption, keeps those that fit it best.

References:
    Zero-Shot Text-to-Image Generation, A. Ramesh et al., 2021, arXiv 2102.12092, section 2.6.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from smalti.arguments import as_whole_number
from smalti.conditions import Condition, OptionalCondition
from smalti.errors import InputError
from smalti.networks import ContrastiveNetwork

__all__ = ["best_of", "check_candidates", "check_captions"]


def check_candidates(candidates: Any, reranker: ContrastiveNetwork | None, prior: str) -> int:
    """Returns the number of candidates for each sample that is kept, as an int.

    Raises:
        InputError: If it is not a whole number from 1 on, or there is no reranker to choose by.
    """
    count = as_whole_number(candidates, "The number of candidates")
    if count < 1:
        raise InputError(f"The number of candidates must be at least 1, got {count}: give 8, say.")
    if count > 1 and reranker is None:
        raise InputError(
            f"This model has no reranker to choose among candidates, got candidates={count}: leave "
            f"it out, or fit a recipe with captions and a reranker, such as emoji."
        )
    if count > 1 and prior == "uniform":
        raise InputError(
            f"Samples of the uniform prior have no captions to be chosen by, got "
            f"candidates={count}: leave it out."
        )
    return count


def check_captions(candidates: int, values: Tensor | None, condition: Condition | None) -> None:
    """Raises `InputError` if one of the captions (n, L) that candidates are to fit is none."""
    if candidates == 1 or values is None or not isinstance(condition, OptionalCondition):
        return
    if bool(condition.is_null(values).any()):
        raise InputError(
            f"Candidates are chosen by their {condition.name}, got none and "
            f"candidates={candidates}: write what to show, or leave candidates out."
        )


def best_of(scores: Tensor, values: Tensor, candidates: int) -> Tensor:
    """Selects the samples with the highest scores for each caption: their row numbers, (n,).

    Arguments:
        scores: (n · candidates,), how well each sample fits its caption.
        values: (n · candidates, *shape), the captions of n samples, each repeated `candidates`
            times in a row. Samples with the same caption share their candidates.
        candidates: How many candidates there are for each sample that is kept.

    Returns:
        int64, in the order of the samples that were asked for; of one caption the best first.

    Example:
        >>> captions = torch.tensor([[1], [1], [2], [2], [1], [1]])
        >>> best_of(torch.tensor([0.1, 0.5, 0.3, 0.2, 0.9, 0.0]), captions, 2)
        tensor([4, 2, 1])
    """
    _, caption_of = values.flatten(1).unique(dim=0, return_inverse=True)
    asked = caption_of[::candidates]
    chosen = torch.empty(len(asked), dtype=torch.int64)
    for caption in asked.unique():
        own = (caption_of == caption).nonzero()[:, 0]
        places = (asked == caption).nonzero()[:, 0]
        best = scores[own].argsort(descending=True, stable=True)[: len(places)]
        chosen[places] = own[best]
    return chosen
