"""Masks over signals: which positions of a batch are valid, and which are padding.

Signals of different lengths share a batch when the shorter ones are padded. A mask (B, *size) is
True where a signal is. A position of a grid counts where any of its signal positions does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smalti.errors import InputError

__all__ = ["check_mask", "fill_padding", "downsample_mask"]


def check_mask(mask: Tensor, x: Tensor) -> None:
    """Raises `InputError` unless a mask is bool and of the size of x (B, C, *size)."""
    wanted = (len(x), *x.shape[2:])
    if mask.dtype != torch.bool or tuple(mask.shape) != wanted:
        raise InputError(
            f"The mask must be bool of the shape {wanted}, got {mask.dtype} of the shape "
            f"{tuple(mask.shape)}: True marks where the signals are."
        )


def downsample_mask(mask: Tensor, downsampling: int, multiple: int | None = None) -> Tensor:
    """Downsamples a mask (B, *size) to (B, *grid): True where any position of a patch is True.

    Arguments:
        mask: (B, *size), True where a signal is given.
        downsampling: Signal positions per position of the grid, along each dimension.
        multiple: Lengths are first padded to a multiple of this, by repeating the edge; the
            downsampling if not given.

    Example:
        >>> downsample_mask(torch.tensor([[True, True, True, False, False]]), 2)
        tensor([[ True,  True, False]])
    """
    for dim in range(1, mask.ndim):
        missing = -mask.shape[dim] % (multiple or downsampling)
        edge = mask.narrow(dim, mask.shape[dim] - 1, 1)
        mask = torch.cat([mask, edge.repeat_interleave(missing, dim)], dim)
        mask = mask.unflatten(dim, (-1, downsampling)).any(dim + 1)
    return mask


def fill_padding(x_hat: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """Replaces x_hat by x where the mask is False, so that a loss between them is 0 there."""
    return torch.where(mask[:, None], x_hat, x.to(x_hat.dtype))
