"""Fully connected encoder and decoder, for vectors and for small signals.

    encoder   x (B, C, *size) → flat → [linear, ReLU] × layers → linear → z (B, D, tokens)
    decoder   z (B, D, tokens) → flat → [linear, ReLU] × layers → linear → x̂ (B, C, *size)

Each of the `tokens` positions sees the whole signal. Nothing is shared between positions, so the
size of the signal is part of the network.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.networks.network import Decoder, Encoder
from smalti.signals import Signal

__all__ = ["MLPDecoder", "MLPEncoder"]


@registered
class MLPEncoder(Encoder):
    """A fully connected encoder: maps x (B, C, *size) to z (B, D, tokens).

    Arguments:
        signal: The signal that it encodes, of one size.
        dim: D, dimension of the vectors z.
        hidden: Units of each hidden layer.
        layers: Number of hidden layers, each with a ReLU.
        tokens: Positions of the grid.

    Raises:
        InputError: If signals have a grid of any size.

    Example:
        >>> import torch
        >>> from smalti.networks import Features
        >>> vectors = Features(channels=10, spatial_dims=0)
        >>> encoder = MLPEncoder(vectors, 4, hidden=16, tokens=3)
        >>> z = encoder(torch.zeros(2, 10))
        >>> z.shape, encoder.mirror(vectors, 4)(z).shape
        (torch.Size([2, 4, 3]), torch.Size([2, 10]))
    """

    def __init__(
        self, signal: Signal, dim: int, *, hidden: int = 512, layers: int = 2, tokens: int = 1
    ) -> None:
        super().__init__()
        self.dim, self.downsampling, self.margin = dim, 1, None
        self.width, self.narrow, self.layers, self.tokens = hidden, hidden, layers, tokens
        self.linear = _perceptron(_num_values(signal), dim * tokens, hidden, layers)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x (B, C, *size) to z (B, D, tokens)."""
        return self.linear(x.flatten(1)).unflatten(1, (self.dim, self.tokens))

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """See `Encoder.grid`: (tokens,)."""
        return (self.tokens,)

    def mirror(self, signal: Signal, dim: int) -> MLPDecoder:
        """See `Encoder.mirror`."""
        return MLPDecoder(signal, dim, hidden=self.width, layers=self.layers, tokens=self.tokens)


@registered
class MLPDecoder(Decoder):
    """A fully connected decoder, the mirror of `MLPEncoder`: z (B, D, tokens) to (B, C, *size).

    Arguments: those of `MLPEncoder`.
    """

    def __init__(
        self, signal: Signal, dim: int, *, hidden: int = 512, layers: int = 2, tokens: int = 1
    ) -> None:
        super().__init__()
        self.dim, self.channels, self.margin = dim, signal.channels, None
        self.shape = signal.shape
        self.linear = _perceptron(dim * tokens, _num_values(signal), hidden, layers)

    @property
    def last_weight(self) -> Tensor:
        """See `Decoder.last_weight`."""
        return self.linear[-1].weight  # type: ignore[return-value]

    def forward(self, z: Tensor) -> Tensor:
        """Maps z (B, D, tokens) to (B, C, *size)."""
        return self.linear(z.flatten(1)).unflatten(1, self.shape)


def _num_values(signal: Signal) -> int:
    """Returns how many values one signal has, C · Π size.

    Raises:
        InputError: If the signal has no fixed size.
    """
    if signal.spatial_dims and not signal.size:
        raise InputError(
            f"Linear layers take {signal.plural} of one size, got any: give a size, or choose "
            f"another network, e.g. ConvEncoder."
        )
    return math.prod(signal.shape)


def _perceptron(inputs: int, outputs: int, hidden: int, layers: int) -> nn.Sequential:
    """Makes a perceptron (B, inputs) → (B, outputs): `layers` hidden layers, a ReLU after each."""
    widths = [inputs, *[hidden] * layers]
    made = nn.Sequential()
    for wide, narrow in zip(widths[:-1], widths[1:], strict=True):
        made.extend([nn.Linear(wide, narrow), nn.ReLU(inplace=True)])
    made.append(nn.Linear(widths[-1], outputs))
    return made
