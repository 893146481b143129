"""A stronger decoder than the VQ-VAE paper's: attention, group normalization, nearest neighbours.

    z_q (B, D, *grid) → conv3 → residual block, attention, residual blocks
        → [nearest-neighbour ×2, conv3, residual block] × log2(downsampling)
        → group normalization, SiLU, conv3 → x_hat

Attention at the coarsest resolution lets all of a signal agree on what it shows. Doubling by
nearest neighbours and a convolution leaves no chequered pattern, as transposed convolutions do.

References:
    Taming Transformers for High-Resolution Image Synthesis, P. Esser, R. Rombach and B. Ommer,
    2021, arXiv 2012.09841, appendix A.
    Deconvolution and Checkerboard Artifacts, A. Odena, V. Dumoulin and C. Olah, 2016, Distill,
    doi 10.23915/distill.00003.
"""

from __future__ import annotations

from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.networks.network import Decoder
from smalti.nn import NormalizedResidualBlock, SpatialAttention, conv_layers, group_norm
from smalti.signals import Signal

__all__ = ["ResNetDecoder"]


@registered
class ResNetDecoder(Decoder):
    """The decoder of the VQGAN paper, made small: maps z_q (B, D, *grid) to x_hat (B, C, *size).

    Channels are halved with each doubling of the resolution, down to a quarter.

    Arguments:
        signal: What it gives; any size fits.
        dim: D, channels of its input.
        hidden: Channels at the coarsest resolution.
        residual_blocks: Residual blocks at the coarsest resolution.
        downsampling: Signal positions per grid position, along each dimension; a power of two, as
            of the encoder.
        attention: Whether positions of the coarsest resolution attend to each other.

    Raises:
        InputError: If `downsampling` is no power of two, or signals have no grid of one or two
            dimensions.

    Example:
        >>> import torch
        >>> from smalti.networks import Features
        >>> decoder = ResNetDecoder(Features(3), 8, hidden=16, downsampling=4)
        >>> decoder(torch.zeros(1, 8, 5, 3)).shape
        torch.Size([1, 3, 20, 12])
    """

    def __init__(
        self,
        signal: Signal,
        dim: int,
        *,
        hidden: int = 128,
        residual_blocks: int = 2,
        downsampling: int = 4,
        attention: bool = True,
    ) -> None:
        super().__init__()
        dims = signal.spatial_dims
        convolution = conv_layers(dims).convolution
        doublings = downsampling.bit_length() - 1
        if downsampling < 1 or downsampling != 1 << doublings:
            raise InputError(
                f"The downsampling of a decoder is a power of two, got {downsampling}: give that "
                f"of the encoder, e.g. 4 or 8."
            )
        self.dim, self.channels, self.downsampling = dim, signal.channels, downsampling
        self.margin = None  # attention and normalization see the whole
        blocks: list[nn.Module] = [
            NormalizedResidualBlock(hidden, dims) for _ in range(residual_blocks)
        ]
        if attention:
            blocks.insert(1, SpatialAttention(hidden, dims))
        self.inner = nn.Sequential(convolution(dim, hidden, 3, padding=1), *blocks)
        self.up, width = nn.Sequential(), hidden
        for doubling in range(1, doublings + 1):
            narrow = max(hidden >> doubling, hidden // 4, 1)
            self.up.extend(
                [
                    nn.Upsample(scale_factor=2, mode="nearest"),
                    convolution(width, narrow, 3, padding=1),
                    NormalizedResidualBlock(narrow, dims),
                ]
            )
            width = narrow
        self.out = nn.Sequential(
            group_norm(width), nn.SiLU(), convolution(width, signal.channels, 3, padding=1)
        )

    @property
    def last_weight(self) -> Tensor:
        """See `Decoder.last_weight`."""
        return self.out[-1].weight  # type: ignore[return-value]

    def forward(self, z: Tensor) -> Tensor:
        """Maps z_q (B, D, *grid) to x_hat (B, C, *size)."""
        return self.out(self.up(self.inner(z)))
