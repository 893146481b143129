"""The convolutional encoder and decoder of the VQ-VAE paper, for grids of one or two dimensions.

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
from smalti.networks.network import Decoder, Encoder
from smalti.nn import ResidualStack, conv_layers
from smalti.signals import Signal

__all__ = ["ConvDecoder", "ConvEncoder"]


@registered
class ConvEncoder(Encoder):
    """The encoder of the VQ-VAE paper: strided convolutions, then residual blocks.

    Maps x (B, C, *size) to z_e (B, D, *grid).

    Arguments:
        signal: The signal that it encodes; any size fits.
        dim: D, dimension of the vectors z_e.
        hidden: Channels inside.
        residual_blocks: Residual blocks at the coarsest resolution.
        residual_hidden: Channels inside a residual block.
        downsampling: Signal positions per grid position, along each dimension; a power of two.

    Raises:
        InputError: If `downsampling` is not a power of two, `hidden` is below 2, or signals have no
            grid of one or two dimensions.
    """

    def __init__(
        self,
        signal: Signal,
        dim: int,
        *,
        hidden: int = 128,
        residual_blocks: int = 2,
        residual_hidden: int = 32,
        downsampling: int = 4,
    ) -> None:
        super().__init__()
        convolution = conv_layers(signal.spatial_dims).convolution
        widths = [signal.channels, *_channels_after_halvings(hidden, downsampling)]
        self.downsampling, self.dim = downsampling, dim
        self.width, self.narrow, self.residual_blocks = hidden, residual_hidden, residual_blocks
        # One for each convolution of 3, and less than one for those of the halvings together.
        self.margin = residual_blocks + 2
        self.down = nn.Sequential()
        for wide, narrow in zip(widths[:-1], widths[1:], strict=True):
            self.down.extend(
                [convolution(wide, narrow, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
            )
        self.inner = nn.Sequential(
            convolution(widths[-1], hidden, 3, padding=1),
            ResidualStack(hidden, residual_hidden, residual_blocks, signal.spatial_dims),
            convolution(hidden, dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps x (B, C, *size) to z_e (B, D, *grid); `downsampling` must divide `size`."""
        return self.inner(self.down(x))

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """See `Encoder.grid`."""
        return tuple(-(-length // self.downsampling) for length in size)

    def mirror(self, signal: Signal, dim: int) -> ConvDecoder:
        """See `Encoder.mirror`."""
        return ConvDecoder(
            signal,
            dim,
            hidden=self.width,
            residual_blocks=self.residual_blocks,
            residual_hidden=self.narrow,
            downsampling=self.downsampling,
        )


@registered
class ConvDecoder(Decoder):
    """The decoder of the VQ-VAE paper, the mirror of `ConvEncoder`.

    Maps z_q (B, D, *grid) to x_hat (B, C, *size).

    Arguments: those of `ConvEncoder`.
    """

    def __init__(
        self,
        signal: Signal,
        dim: int,
        *,
        hidden: int = 128,
        residual_blocks: int = 2,
        residual_hidden: int = 32,
        downsampling: int = 4,
    ) -> None:
        super().__init__()
        convolution, transposed = conv_layers(signal.spatial_dims)
        widths = [*reversed(_channels_after_halvings(hidden, downsampling)), signal.channels]
        self.downsampling, self.dim, self.channels = downsampling, dim, signal.channels
        # One for each convolution of 3, and less than two for the doublings: 1 + 1/2 + 1/4 …
        self.margin = residual_blocks + 3
        self.inner = nn.Sequential(
            convolution(dim, hidden, 3, padding=1),
            ResidualStack(hidden, residual_hidden, residual_blocks, signal.spatial_dims),
        )
        self.up = nn.Sequential()
        for narrow, wide in zip(widths[:-1], widths[1:], strict=True):
            self.up.extend(
                [transposed(narrow, wide, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
            )
        del self.up[-1]  # the signal itself is not rectified

    @property
    def last_weight(self) -> Tensor:
        """See `Decoder.last_weight`."""
        return self.up[-1].weight  # type: ignore[return-value]

    def forward(self, z: Tensor) -> Tensor:
        """Maps z_q (B, D, *grid) to x_hat (B, C, *size)."""
        return self.up(self.inner(z))


def _channels_after_halvings(hidden: int, downsampling: int) -> list[int]:
    """Returns the channels after each halving of the size: `hidden` after the last, half before.

    Raises:
        InputError: If `hidden` is below 2, or the downsampling is no power of two from 2 on.
    """
    if hidden < 2:
        raise InputError(f"A convolutional network has a hidden of at least 2, got {hidden}.")
    halvings = downsampling.bit_length() - 1
    if downsampling < 2 or downsampling != 1 << halvings:
        raise InputError(
            f"The downsampling must be a power of two of at least 2, got {downsampling}: "
            f"choose 2, 4, 8, ..."
        )
    return [hidden // 2] * (halvings - 1) + [hidden]
