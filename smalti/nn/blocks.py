"""Convolutional building blocks for 1-D and 2-D signals.

`layers(1)` and `layers(2)` give the convolutions of the dimension at hand; everything built from
them is the same code for one dimension and for two.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from smalti.errors import InputError

__all__ = ["ConvLayers", "ResidualBlock", "ResidualStack", "conv_layers"]


class ConvLayers(NamedTuple):
    """The classes of convolution and transposed convolution for 1-D or 2-D signals."""

    convolution: type[nn.Module]
    transposed: type[nn.Module]


def conv_layers(spatial_dims: int) -> ConvLayers:
    """Returns the convolution and transposed convolution over `spatial_dims` dimensions.

    Raises:
        InputError: If `spatial_dims` is neither 1 nor 2.
    """
    if spatial_dims == 1:
        return ConvLayers(nn.Conv1d, nn.ConvTranspose1d)
    if spatial_dims == 2:
        return ConvLayers(nn.Conv2d, nn.ConvTranspose2d)
    raise InputError(f"spatial_dims is 1 or 2, got {spatial_dims}: choose one.")


class ResidualBlock(nn.Module):
    """The residual block of the VQ-VAE paper: x + conv1(relu(conv3(relu(x)))).

    References:
        Neural Discrete Representation Learning, A. van den Oord, O. Vinyals and K. Kavukcuoglu,
        2017, arXiv 1711.00937, section 4.1.

    Arguments:
        channels: C of the input and output, (B, C, *size).
        hidden: Channels between the two convolutions.
        spatial_dims: 1 or 2.
    """

    def __init__(self, channels: int, hidden: int, spatial_dims: int = 2) -> None:
        super().__init__()
        convolution = conv_layers(spatial_dims).convolution
        self.branch = nn.Sequential(
            nn.ReLU(),
            convolution(channels, hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            convolution(hidden, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, *size) to (B, C, *size)."""
        return x + self.branch(x)


class ResidualStack(nn.Sequential):
    """A stack of residual blocks with a last ReLU: (B, C, *size) → (B, C, *size)."""

    def __init__(self, channels: int, hidden: int, blocks: int, spatial_dims: int = 2) -> None:
        super().__init__(
            *(ResidualBlock(channels, hidden, spatial_dims) for _ in range(blocks)),
            nn.ReLU(),
        )
