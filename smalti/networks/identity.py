"""Identity networks, for quantizers that work on the vectors of the data themselves.

    encoder   x (B, d) → z (B, d, 1)            decoder   z (B, d, 1) → x̂ (B, d)

There is nothing to train, so that codebooks can be fitted to a whole set without gradients
(`smalti.quantizers.fitting`).
"""

from __future__ import annotations

from torch import Tensor

from smalti.counting import counted
from smalti.errors import InputError
from smalti.networks.network import Decoder, Encoder
from smalti.registry import registered
from smalti.signals import Signal

__all__ = ["IdentityDecoder", "IdentityEncoder"]


@registered
class IdentityEncoder(Encoder):
    """Leaves vectors as they are: x (B, d) to z (B, d, 1).

    Arguments:
        signal: The signal, which has no grid.
        dim: d, the channels of the signal.

    Raises:
        InputError: If signals have a grid, or a number of channels other than d.

    Example:
        >>> import torch
        >>> from smalti.networks import Features
        >>> vectors = Features(channels=10, spatial_dims=0)
        >>> encoder = IdentityEncoder(vectors, 10)
        >>> z = encoder(torch.zeros(2, 10))
        >>> z.shape, encoder.mirror(vectors, 10)(z).shape
        (torch.Size([2, 10, 1]), torch.Size([2, 10]))
    """

    def __init__(self, signal: Signal, dim: int) -> None:
        super().__init__()
        _check(signal, dim)
        self.dim, self.downsampling, self.margin = dim, 1, None
        self.width = self.narrow = dim

    def forward(self, x: Tensor) -> Tensor:
        """Returns x (B, d) as (B, d, 1)."""
        return x[..., None]

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """See `Encoder.grid`: (1,)."""
        return (1,)

    def mirror(self, signal: Signal, dim: int) -> IdentityDecoder:
        """See `Encoder.mirror`."""
        return IdentityDecoder(signal, dim)


@registered
class IdentityDecoder(Decoder):
    """Leaves vectors as they are: z (B, d, 1) to x_hat (B, d).

    Arguments: those of `IdentityEncoder`.
    """

    def __init__(self, signal: Signal, dim: int) -> None:
        super().__init__()
        _check(signal, dim)
        self.dim, self.channels, self.margin = dim, signal.channels, None

    def forward(self, z: Tensor) -> Tensor:
        """Returns z (B, d, 1) as (B, d)."""
        return z[..., 0]


def _check(signal: Signal, dim: int) -> None:
    """Raises `InputError` unless vectors of that signal have `dim` dimensions."""
    if signal.spatial_dims:
        raise InputError(
            f"Without a network vectors are quantized, got {signal.plural}, which have a grid: "
            f"choose an encoder such as ConvEncoder or MLPEncoder."
        )
    if dim != signal.channels:
        raise InputError(
            f"Without a network the vectors themselves are quantized, of "
            f"{counted(signal.channels, 'dimension')}, got a quantizer of {dim}: set the dim of "
            f"its codebooks to {signal.channels}, in a recipe to auto, or choose MLPEncoder."
        )
