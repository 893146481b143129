"""SEANet's encoder and decoder, as in SoundStream and EnCodec: strided 1-D convolutions.

    encoder   x (B, C, T) → conv → [residual units, activation, strided conv] × strides
              → activation → conv → z_e (B, D, T / downsampling)
    decoder   z_q (B, D, L) → conv → [activation, transposed conv, residual units] × strides
              → activation → conv → x_hat (B, C, L · downsampling)

    residual unit   x + conv1(activation(conv(activation(x)))), the first of them dilated

The downsampling is the product of the strides, any whole numbers. Channels double with each stride,
whose kernel is twice as long. The causal ones look at earlier positions alone, so that they can be
run chunk by chunk.

References:
    SoundStream: An End-to-End Neural Audio Codec, N. Zeghidour, A. Luebs, A. Omran, J. Skoglund and
    M. Tagliasacchi, 2021, arXiv 2107.03312.
    High Fidelity Neural Audio Compression, A. Défossez, J. Copet, G. Synnaeve and Y. Adi, 2022,
    arXiv 2210.13438.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.networks.network import Decoder, Encoder
from smalti.nn.padded_convolutions import (
    PaddedConv1d,
    PaddedConvTranspose1d,
    as_rows,
    direction,
    from_rows,
    multiplied,
)
from smalti.nn.snake import Snake
from smalti.nn.streaming import Chain, Residual, State, stream_rows
from smalti.signals import Signal

__all__ = ["Activation", "SEANetDecoder", "SEANetEncoder"]

Activation = Literal["elu", "snake"]
DEEPEST = 2**16  # positions of a signal per position of the grid


@registered
class SEANetEncoder(Encoder):
    """The encoder of SoundStream and EnCodec: maps x (B, C, T) to z_e (B, D, T / downsampling).

    Arguments:
        signal: The signal that it encodes, with a grid of one dimension; any length fits.
        dim: D, dimension of the vectors z_e.
        hidden: Channels at the resolution of the signal; each stride doubles them.
        strides: The factors of the downsampling, fine to coarse.
        dilations: Of the first convolution of each residual unit before a stride: as many units.
        kernel_sizes: Of the first and the last convolution, and of the residual units.
        activation: "elu", or "snake", which learns frequencies.
        causal: Whether it looks at earlier positions alone.
        weight_norm: Whether length and direction of all weights are learned apart.
        gain: What the first weights are multiplied by at the start. Of signals far below 1 the
            activations are linear, and a linear network does not see how loud they are: it takes
            long to find out. With 1/gain about their root mean square it need not.

    Raises:
        InputError: If signals have no grid of one dimension, there are no strides, or their product
            is above 65536, or the gain is not above 0.

    Example:
        >>> import torch
        >>> from smalti.networks import Features
        >>> encoder = SEANetEncoder(Features(1, spatial_dims=1), 8, hidden=4, strides=[2, 5])
        >>> encoder.downsampling, encoder(torch.zeros(3, 1, 40)).shape
        (10, torch.Size([3, 8, 4]))
    """

    def __init__(  # noqa: PLR0913 - the fields of a recipe
        self,
        signal: Signal,
        dim: int,
        *,
        hidden: int = 32,
        strides: Sequence[int] = (2, 4, 5, 8),
        dilations: Sequence[int] = (1,),
        kernel_sizes: tuple[int, int] = (7, 3),
        activation: Activation = "elu",
        causal: bool = False,
        weight_norm: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < gain < math.inf:
            raise InputError(f"The gain of a SEANet is above 0, got {gain}: 1 changes nothing.")
        make = _Layers(kernel_sizes, tuple(dilations), activation, causal, weight_norm)
        self.downsampling, self.strides = _downsampling(signal, strides), tuple(strides)
        self.dim, self.narrow, self.width = dim, hidden, hidden << len(strides)
        self.gain = gain
        self.arguments = make
        layers: list[nn.Module] = [multiplied(make.outer(signal.channels, hidden), gain)]
        for level, stride in enumerate(strides):
            width = hidden << level
            layers += [*make.units(width), make.active(width)]
            layers += [make.convolution(width, 2 * width, 2 * stride, stride=stride)]
        layers += [make.active(self.width), make.outer(self.width, dim)]
        self.layers = Chain(*layers)
        first, last = self.layers.needs(0, 0)
        self.ahead = last - (self.downsampling - 1)
        self.margin = -(min(first, -self.ahead) // self.downsampling)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x (B, C, T) to z_e (B, D, T / downsampling); `downsampling` must divide T."""
        return from_rows(self.layers(as_rows(x)))

    def stream(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """See `smalti.nn.streaming.Streamed`."""
        return stream_rows(self.layers, x, state)

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """See `Encoder.grid`."""
        return tuple(-(-length // self.downsampling) for length in size)

    def mirror(self, signal: Signal, dim: int) -> SEANetDecoder:
        """See `Encoder.mirror`."""
        return SEANetDecoder(
            signal, dim, hidden=self.narrow, strides=self.strides, **self.arguments._asdict()
        )


@registered
class SEANetDecoder(Decoder):
    """The decoder of SoundStream and EnCodec, the mirror of `SEANetEncoder`.

    Maps z_q (B, D, L) to x_hat (B, C, L · downsampling).

    Arguments: those of `SEANetEncoder`, the strides in the same order, fine to coarse.
    """

    def __init__(  # noqa: PLR0913 - the fields of a recipe
        self,
        signal: Signal,
        dim: int,
        *,
        hidden: int = 32,
        strides: Sequence[int] = (2, 4, 5, 8),
        dilations: Sequence[int] = (1,),
        kernel_sizes: tuple[int, int] = (7, 3),
        activation: Activation = "elu",
        causal: bool = False,
        weight_norm: bool = True,
    ) -> None:
        super().__init__()
        make = _Layers(kernel_sizes, tuple(dilations), activation, causal, weight_norm)
        self.downsampling, self.strides = _downsampling(signal, strides), tuple(strides)
        self.dim, self.channels, self.narrow = dim, signal.channels, hidden
        width = hidden << len(strides)
        layers: list[nn.Module] = [make.outer(dim, width)]
        for stride in reversed(strides):
            layers += [make.active(width), make.transposed(width, width // 2, stride)]
            width //= 2
            layers += make.units(width)
        layers += [make.active(width), make.outer(width, signal.channels)]
        self.layers = Chain(*layers)
        first, self.ahead = self.layers.needs(0, self.downsampling - 1)
        self.margin = max(-first, self.ahead)

    @property
    def last_weight(self) -> Tensor:
        """See `Decoder.last_weight`."""
        return direction(self.layers[-1])

    def forward(self, z: Tensor) -> Tensor:
        """Maps z_q (B, D, L) to x_hat (B, C, L · downsampling)."""
        return from_rows(self.layers(as_rows(z)))

    def stream(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """See `smalti.nn.streaming.Streamed`."""
        return stream_rows(self.layers, x, state)


class _Layers(NamedTuple):
    """What layers are made of; see `SEANetEncoder`."""

    kernel_sizes: tuple[int, int]
    dilations: tuple[int, ...]
    activation: Activation
    causal: bool
    weight_norm: bool

    def convolution(
        self, channels: int, outputs: int, kernel_size: int, *, stride: int = 1, dilation: int = 1
    ) -> PaddedConv1d:
        """Makes a convolution."""
        return PaddedConv1d(
            channels,
            outputs,
            kernel_size,
            stride=stride,
            dilation=dilation,
            causal=self.causal,
            weight_norm=self.weight_norm,
        )

    def transposed(self, channels: int, outputs: int, stride: int) -> PaddedConvTranspose1d:
        """Makes a transposed convolution."""
        return PaddedConvTranspose1d(
            channels, outputs, stride, causal=self.causal, weight_norm=self.weight_norm
        )

    def outer(self, channels: int, outputs: int) -> PaddedConv1d:
        """Makes the first or the last convolution."""
        return self.convolution(channels, outputs, self.kernel_sizes[0])

    def active(self, channels: int, inplace: bool = True) -> nn.Module:
        """Makes an activation, which may overwrite its input unless something else needs that."""
        return Snake(channels) if self.activation == "snake" else nn.ELU(inplace=inplace)

    def units(self, width: int) -> list[nn.Module]:
        """Makes the residual units of one resolution."""
        inner = max(width // 2, 1)
        return [
            Residual(
                self.active(width, inplace=False),
                self.convolution(width, inner, self.kernel_sizes[1], dilation=dilation),
                self.active(inner),
                self.convolution(inner, width, 1),
            )
            for dilation in self.dilations
        ]


def _downsampling(signal: Signal, strides: Sequence[int]) -> int:
    """Returns the product of the strides; raises `InputError` for those that make no network."""
    if signal.spatial_dims != 1:
        raise InputError(
            f"A SEANet takes signals with a grid of one dimension, got {signal.plural} with "
            f"{signal.spatial_dims}: choose ConvEncoder."
        )
    product = math.prod(strides)
    if not strides or min(strides) < 1 or product > DEEPEST:
        raise InputError(
            f"The strides of a SEANet are whole numbers from 1 on with a product of at most "
            f"{DEEPEST}, got {list(strides)}: give e.g. [2, 4, 5, 8]."
        )
    return product
