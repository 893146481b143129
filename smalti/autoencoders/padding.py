"""Pads signals so that the downsampling divides their size, and crops them back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.errors import InputError

__all__ = ["crop", "pad"]


def pad(x: Tensor, downsampling: int) -> Tensor:
    """Pads x (B, C, *size) at the end of each dimension to a multiple of the downsampling.

    The padding is a reflection of x; one of one dimension is reflected as often as it takes.

    Raises:
        InputError: If x of several dimensions is shorter than the padding that it needs.

    Example:
        >>> import torch
        >>> pad(torch.zeros(1, 1, 6, 8), 4).shape
        torch.Size([1, 1, 8, 8])
    """
    missing = [-length % downsampling for length in x.shape[2:]]
    if not any(missing):
        return x
    if any(more >= length for more, length in zip(missing, x.shape[2:], strict=True)):
        if x.ndim == 3:
            return x[..., _reflected(x.shape[2], x.shape[2] + missing[0])]
        raise InputError(
            f"A signal of size {tuple(x.shape[2:])} is too small for a downsampling of "
            f"{downsampling}: use larger signals or a smaller downsampling."
        )
    # F.pad takes (before, after) pairs from the last dimension to the first.
    return F.pad(x, [side for more in reversed(missing) for side in (0, more)], mode="reflect")


def crop(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Keeps the beginning of each dimension of x (B, C, *larger): (B, C, *size).

    Example:
        >>> import torch
        >>> crop(torch.zeros(1, 1, 8, 8), (6, 8)).shape
        torch.Size([1, 1, 6, 8])
    """
    near: tuple[Any, ...] = (..., *(slice(length) for length in size))
    return x[near]


def _reflected(length: int, longer: int) -> Tensor:
    """Returns the place in a signal of each position of its reflection.

    Example:
        >>> _reflected(3, 8).tolist(), _reflected(1, 3).tolist()
        ([0, 1, 2, 1, 0, 1, 2, 1], [0, 0, 0])
    """
    period = max(2 * (length - 1), 1)
    place = torch.arange(longer) % period
    return torch.minimum(place, period - place) if length > 1 else place
