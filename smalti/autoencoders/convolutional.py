"""The convolutional encoder and decoder of the VQ-VAE paper, for images and sound alike.

Each halving of the resolution is a strided convolution with a kernel of 4; a stack of residual
blocks follows at the coarsest resolution, and the decoder mirrors it with transposed convolutions:

    encoder   x (B, C, *size) → [conv4 /2, ReLU] × log2(downsampling) → conv3
              → residual blocks → conv1 → z_e (B, D, *grid)
    decoder   z_q (B, D, *grid) → conv3 → residual blocks
              → [transposed conv4 ×2, ReLU] × log2(downsampling) → x_hat

References:
    Neural Discrete Representation Learning, A. van den Oord, O. Vinyals and K. Kavukcuoglu, 2017,
    arXiv 1711.00937, section 4.1.
"""

from __future__ import annotations

from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.nn import ResidualStack, layers

__all__ = ["ConvDecoder", "ConvEncoder"]


@registered
class ConvEncoder(nn.Module):
    """Strided convolutions, then residual blocks: x (B, C, *size) → z_e (B, D, *grid).

    Arguments:
        channels: C, channels of the signal, e.g. 3 for colour images.
        dim: D, dimension of the vectors z_e.
        hidden: Channels inside.
        residual_blocks: Residual blocks at the coarsest resolution.
        residual_hidden: Channels inside a residual block.
        downsampling: Signal positions per grid position, along each dimension; a power of two.
        spatial_dims: 2 for images, 1 for sound.

    Raises:
        InputError: If `downsampling` is not a power of two, or `spatial_dims` neither 1 nor 2.
    """

    def __init__(
        self,
        channels: int,
        dim: int,
        *,
        hidden: int = 128,
        residual_blocks: int = 2,
        residual_hidden: int = 32,
        downsampling: int = 4,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__()
        convolution = layers(spatial_dims).convolution
        widths = [channels, *_widths(hidden, downsampling)]
        self.downsampling, self.dim = downsampling, dim
        self.down = nn.Sequential()
        for wide, narrow in zip(widths[:-1], widths[1:], strict=True):
            self.down.extend(
                [convolution(wide, narrow, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
            )
        self.inner = nn.Sequential(
            convolution(widths[-1], hidden, 3, padding=1),
            ResidualStack(hidden, residual_hidden, residual_blocks, spatial_dims),
            convolution(hidden, dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps x (B, C, *size) to z_e (B, D, *grid); `downsampling` must divide `size`."""
        return self.inner(self.down(x))


@registered
class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`: z_q (B, D, *grid) → x_hat (B, C, *size).

    Arguments: as of `ConvEncoder`.
    """

    def __init__(
        self,
        channels: int,
        dim: int,
        *,
        hidden: int = 128,
        residual_blocks: int = 2,
        residual_hidden: int = 32,
        downsampling: int = 4,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__()
        convolution, transposed = layers(spatial_dims)
        widths = [*reversed(_widths(hidden, downsampling)), channels]
        self.downsampling, self.dim, self.channels = downsampling, dim, channels
        self.inner = nn.Sequential(
            convolution(dim, hidden, 3, padding=1),
            ResidualStack(hidden, residual_hidden, residual_blocks, spatial_dims),
        )
        self.up = nn.Sequential()
        for narrow, wide in zip(widths[:-1], widths[1:], strict=True):
            self.up.extend(
                [transposed(narrow, wide, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
            )
        del self.up[-1]  # the signal itself is not rectified

    def forward(self, z_q: Tensor) -> Tensor:
        """Maps z_q (B, D, *grid) to x_hat (B, C, *size)."""
        return self.up(self.inner(z_q))


def _widths(hidden: int, downsampling: int) -> list[int]:
    """Returns the channels after each halving: half of `hidden` at first, then `hidden`."""
    halvings = downsampling.bit_length() - 1
    if downsampling < 2 or downsampling != 1 << halvings:
        raise InputError(
            f"The downsampling must be a power of two of at least 2, got {downsampling}: "
            f"choose 2, 4, 8, ..."
        )
    return [hidden // 2] * (halvings - 1) + [hidden]
