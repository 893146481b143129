"""Means over the valid positions of a batch."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["masked_mean", "mean_square", "mean_weights"]


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Averages over the elements of the valid positions; 0 if there are none.

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


def mean_square(r: Tensor, mask: Tensor | None) -> Tensor:
    """Averages r² over the elements of the valid positions; 0 if there are none.

    Arguments:
        r: (..., D), one row a position; what the invalid ones hold must be finite.
        mask: Valid positions (...), bool; None where all are.

    Example:
        >>> r = torch.tensor([[1.0, 3.0], [9.0, 9.0]])
        >>> mean_square(r, torch.tensor([True, False]))
        tensor(5.)
    """
    if torch.compiler.is_compiling():
        squares = r.square().sum(-1)
    else:
        squares = _SquaredLengths.apply(r)
    return masked_mean(squares[..., None], mask) / r.shape[-1]


class _SquaredLengths(torch.autograd.Function):
    """‖r‖² of each row: (..., D) to (...), without holding all r², forwards or backwards."""

    generate_vmap_rule = True

    @staticmethod
    def forward(r: Tensor) -> Tensor:
        return torch.linalg.vector_norm(r, dim=-1).square()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (r,) = ctx.saved_tensors
        return r * (2 * gradient)[..., None]

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        (r,) = ctx.saved_tensors
        return 2 * (r * tangent).sum(-1)


def mean_weights(values: Tensor, mask: Tensor | None) -> Tensor:
    """Returns the weight (N,) of each row in the mean over valid rows: 1/n, or 0 if masked.

    Arguments:
        values: (..., D), N rows in all.
        mask: Valid rows (...), bool; None where all are.

    Example:
        >>> mean_weights(torch.zeros(3, 2), torch.tensor([True, False, True]))
        tensor([0.5000, 0.0000, 0.5000])
    """
    valid = torch.ones_like(values[..., 0]) if mask is None else mask.to(values.dtype)
    valid = valid.reshape(-1)
    return valid / valid.sum().clamp(min=1)
