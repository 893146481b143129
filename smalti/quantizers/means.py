"""Means over the valid positions of a batch."""

import torch
from torch import Tensor

__all__ = ["masked_mean", "shares"]


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over the elements of the valid positions, 0 if there are none.

    Arguments:
        values: (..., D), one row a position; what the invalid ones hold must be finite.
        mask: Valid positions (...), bool; None where all are.

    Example:
        >>> values = torch.tensor([[1.0, 3.0], [9.0, 9.0]])
        >>> masked_mean(values, torch.tensor([True, False]))
        tensor(2.)
    """
    if mask is None:
        return values.sum() / max(values.numel(), 1)
    count = mask.sum().clamp(min=1) * values.shape[-1]
    return torch.where(mask[..., None], values, 0.0).sum() / count


def shares(values: Tensor, mask: Tensor | None) -> Tensor:
    """The share (N,) of each of N rows in the mean over the valid ones; 0 if there are none.

    Arguments:
        values: (..., D), N rows in all.
        mask: Valid rows (...), bool; None where all are.

    Example:
        >>> shares(torch.zeros(3, 2), torch.tensor([True, False, True]))
        tensor([0.5000, 0.0000, 0.5000])
    """
    valid = torch.ones_like(values[..., 0]) if mask is None else mask.to(values.dtype)
    valid = valid.reshape(-1)
    return valid / valid.sum().clamp(min=1)
