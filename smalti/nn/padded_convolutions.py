"""Convolutions over one dimension that keep count: T positions in, T / stride or T · stride out.

    PaddedConv1d             y_i depends on x_{i·s − before} … x_{i·s + s − 1 + after}
    PaddedConvTranspose1d    each x_i gives s positions of y, and reaches into those beside them

Zeros stand for what lies beyond either end. A centred layer looks to both sides; a causal one to
earlier positions alone, so that it can also be run chunk by chunk (`smalti.nn.streaming`).

Inside, tensors have four dimensions, (B, C, 1, T), with the channels last in memory: one layer of
few channels is up to 2.7 times as fast so as in (B, C, T) on a CPU, a SEANet with batches of 8 by
10 to 25 %. `as_rows` and `from_rows` lead there and back.

References:
    WaveNet: A Generative Model for Raw Audio, A. van den Oord et al., 2016, arXiv 1609.03499,
    section 2.1, on causal and dilated convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm as normed

__all__ = [
    "PaddedConv1d",
    "PaddedConvTranspose1d",
    "as_rows",
    "direction",
    "from_rows",
    "multiplied",
]


def as_rows(x: Tensor) -> Tensor:
    """Makes of x (B, C, T) the (B, C, 1, T), channels last in memory, that these layers take."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)[:, :, None]


def from_rows(x: Tensor) -> Tensor:
    """Makes of x (B, C, 1, T) the (B, C, T) that all else takes."""
    return x[:, :, 0].contiguous()


class PaddedConv1d(nn.Conv1d):
    """A convolution (B, C, 1, T) → (B, D, 1, T / stride); T is a multiple of the stride.

    Arguments:
        channels: C.
        outputs: D.
        kernel_size: Taps; at least the stride.
        stride: Positions of the input per position of the output.
        dilation: Positions from one tap to the next.
        groups: Groups of channels that do not see each other.
        causal: Whether it looks at earlier positions alone, and else to both sides.
        weight_norm: Whether length and direction of its weights are learned apart.

    Attributes:
        before: Positions that it sees before those of its stride.
        after: Positions that it sees after them.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        causal: bool = False,
        weight_norm: bool = False,
    ) -> None:
        super().__init__(
            channels, outputs, kernel_size, stride=stride, dilation=dilation, groups=groups
        )
        beyond = (kernel_size - 1) * dilation + 1 - stride
        self.after = 0 if causal else beyond // 2
        self.before = beyond - self.after
        if weight_norm:
            normed(self)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, 1, T) to (B, D, 1, T / stride)."""
        if self.before == self.after:
            return self.convolved(x, self.before)
        return self.convolved(F.pad(x, (self.before, self.after)))

    def needs(self, first: int, last: int) -> tuple[int, int]:
        """Returns the first and the last input that the outputs `first` … `last` depend on."""
        stride = self.stride[0]
        return first * stride - self.before, last * stride + stride - 1 + self.after

    def convolved(self, x: Tensor, padding: int = 0) -> Tensor:
        """Convolves x (B, C, 1, T) with `padding` zeros at each end."""
        y = F.conv2d(
            x,
            self.weight[:, :, None],
            self.bias,
            stride=(1, self.stride[0]),
            padding=(0, padding),
            dilation=(1, self.dilation[0]),
            groups=self.groups,
        )
        # Of a single channel no order can be told, and torch then puts those of y first.
        return y.contiguous(memory_format=torch.channels_last) if x.shape[1] == 1 else y


class PaddedConvTranspose1d(nn.ConvTranspose1d):
    """A transposed convolution (B, C, 1, T) → (B, D, 1, T · stride), with a kernel of 2 · stride.

    Arguments:
        channels: C.
        outputs: D.
        stride: Positions of the output per position of the input.
        causal: Whether an output depends on earlier positions alone, and else on both sides.
        weight_norm: Whether length and direction of its weights are learned apart.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        stride: int,
        *,
        causal: bool = False,
        weight_norm: bool = False,
    ) -> None:
        super().__init__(channels, outputs, 2 * stride, stride=stride)
        self.cut = 0 if causal else stride - stride // 2  # outputs before the first that is kept
        if weight_norm:
            normed(self)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Maps (B, C, 1, T) to (B, D, 1, T · stride)."""
        stride = self.stride[0]
        if 2 * self.cut == stride:
            return self.convolved(x, self.cut)
        return self.convolved(x)[..., self.cut : self.cut + x.shape[-1] * stride]

    def needs(self, first: int, last: int) -> tuple[int, int]:
        """Returns the first and the last input that the outputs `first` … `last` depend on."""
        stride, taps = self.stride[0], self.kernel_size[0]
        return -((taps - 1 - first - self.cut) // stride), (last + self.cut) // stride

    def convolved(self, x: Tensor, padding: int = 0) -> Tensor:
        """Makes of x (B, C, 1, T) all outputs, less `padding` of them at each end."""
        return F.conv_transpose2d(
            x,
            self.weight[:, :, None],
            self.bias,
            stride=(1, self.stride[0]),
            padding=(0, padding),
        )


def direction(layer: nn.Module) -> Tensor:
    """Returns the weight of a layer, or where its length is learned apart, the direction of it.

    Of the two it is the parameter that losses have a gradient of as of a weight.
    """
    if "parametrizations" in dict(layer.named_children()):
        return layer.parametrizations.weight.original1  # type: ignore[union-attr, return-value]
    return layer.weight  # type: ignore[return-value]


def multiplied(layer: nn.Module, gain: float) -> nn.Module:
    """Multiplies the weight of a layer, or where it is learned apart its length, and returns it."""
    if gain != 1:
        apart = "parametrizations" in dict(layer.named_children())
        length = layer.parametrizations.weight.original0 if apart else layer.weight  # type: ignore[union-attr]
        with torch.no_grad():
            length.mul_(gain)  # type: ignore[operator]
    return layer
