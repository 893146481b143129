"""Masked convolutions for grids read in raster order: rows from the top, each from the left.

What a position may see is split in two, because one masked k×k kernel, stacked, leaves a blind spot
to its upper right:

    vertical     rows above and its own row, k columns wide      v v v
                                                                 v v v
    horizontal   its own row up to and with itself               h h

Both see the position itself ("mask B"). The first layer of a causal model must not ("mask A"): it
is given an input shifted by one, `shift_down` for a vertical stack, so that row i holds what stood
in row i − 1, and `shift_right` for a horizontal one. No weight is multiplied by a mask's zeros.

References:
    Pixel Recurrent Neural Networks, A. van den Oord, N. Kalchbrenner and K. Kavukcuoglu, 2016,
    arXiv 1601.06759.
    Conditional Image Generation with PixelCNN Decoders, A. van den Oord et al., 2016, arXiv
    1606.05328.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["HorizontalConv2d", "VerticalConv2d", "shift_down", "shift_right"]


class VerticalConv2d(nn.Conv2d):
    """The masked convolution of PixelCNN's vertical stack.

    Its output at (i, j) sees the rows i − r … i and the columns j − r … j + r, r = ⌊k/2⌋.

    Arguments:
        in_channels: C of the input, (B, C, H, W).
        out_channels: D of the output, (B, D, H, W).
        kernel_size: k, odd.
        bias: Whether a learned bias is added.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, (kernel_size // 2 + 1, kernel_size), bias=bias)
        self.reach = kernel_size // 2

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, D, H, W)."""
        padded = F.pad(x, (self.reach, self.reach, self.reach, 0))
        return F.conv2d(padded, self.weight, self.bias)


class HorizontalConv2d(nn.Conv2d):
    """The masked convolution of PixelCNN's horizontal stack.

    Its output at (i, j) sees the columns j − r … j of row i, r = ⌊k/2⌋.

    Arguments:
        in_channels: C of the input, (B, C, H, W).
        out_channels: D of the output, (B, D, H, W).
        kernel_size: k, odd.
        bias: Whether a learned bias is added.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, (1, kernel_size // 2 + 1), bias=bias)
        self.reach = kernel_size // 2

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, D, H, W)."""
        return F.conv2d(F.pad(x, (self.reach, 0)), self.weight, self.bias)


def shift_down(x: Tensor) -> Tensor:
    """Shifts x (B, C, H, W) down by a row: row i is row i − 1 of x, row 0 is zero.

    Example:
        >>> import torch
        >>> shift_down(torch.tensor([[[[1, 2], [3, 4]]]])).tolist()
        [[[[0, 0], [1, 2]]]]
    """
    return F.pad(x, (0, 0, 1, -1))


def shift_right(x: Tensor) -> Tensor:
    """Shifts x (B, C, H, W) right by a column: column j is column j − 1 of x, column 0 is zero.

    Example:
        >>> import torch
        >>> shift_right(torch.tensor([[[[1, 2], [3, 4]]]])).tolist()
        [[[[0, 1], [0, 3]]]]
    """
    return F.pad(x, (1, -1))
