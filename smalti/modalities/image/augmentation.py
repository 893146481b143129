"""Augmentation of images: random mirroring and shifting."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Augmentation", "shift_randomly"]

REACH = 1 / 8  # share of its size that an image is moved by at most


@dataclass(frozen=True)
class Augmentation:
    """Mirrors and shifts each image of a batch at random, drawing from torch's global generator.

    Arguments:
        flip: Whether to mirror left and right, with probability 1/2.
        move: Whether to move by up to 1/8 of the size, as `shift_randomly` does.

    Example:
        >>> x = torch.arange(3.0).expand(2, 1, 2, 3)
        >>> sorted(Augmentation(flip=True, move=False)(x)[0, 0, 0].tolist())
        [0.0, 1.0, 2.0]
    """

    flip: bool
    move: bool

    def __call__(self, x: Tensor) -> Tensor:
        """Maps images (B, C, H, W) to images of the same shape."""
        if self.flip:
            mirrored = (torch.rand(len(x)) < 0.5).to(x.device)
            x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
        return shift_randomly(x, REACH) if self.move else x


def shift_randomly(x: Tensor, reach: float) -> Tensor:
    """Shifts each image of a batch by a random number of pixels, uniform up to `reach`.

    The edge is filled by reflection.

    Arguments:
        x: (B, C, H, W).
        reach: The largest shift, as a share of the image's size, in [0, 1).
    """
    n, _, height, width = x.shape
    up, left = int(reach * height), int(reach * width)
    padded = F.pad(x, (left, left, up, up), mode="reflect")

    i = torch.randint(2 * up + 1, (n, 1)) + torch.arange(height)  # (B, H): rows to take
    j = torch.randint(2 * left + 1, (n, 1)) + torch.arange(width)  # (B, W): columns to take
    b = torch.arange(n)[:, None, None, None]
    c = torch.arange(x.shape[1])[:, None, None]
    return padded[b, c, i[:, None, :, None], j[:, None, None, :]]
