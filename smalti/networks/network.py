"""The base classes of encoders and decoders.

    encoder   x (B, C, *size) → z (B, dim, *grid)
    decoder   z (B, dim, *grid) → x̂ (B, C, *size)

Both are made of a signal and a dim, `Callable[[Signal, int], Encoder]`; all else are arguments that
a recipe gives. One that is only ever used from Python may be any module with the attributes that
`smalti.autoencoders` names; what a recipe chooses is an `Encoder` and a `Decoder`.

One of signals of one dimension that can be run chunk by chunk, where it is causal, is
`smalti.nn.streaming.Streamed`, too: it has `ahead` and `stream`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from smalti.signals import Signal

__all__ = ["Decoder", "Encoder", "grid_of"]


class Decoder(nn.Module, ABC):
    """Abstract decoder: z (B, dim, *grid) → (B, channels, *size).

    Attributes:
        dim: Channels of its input.
        channels: Channels of its output.
        margin: The radius of its receptive field, in positions of the grid; `None` if a value
            depends on the whole grid.
        gives_features: Whether it may stand between the levels of a hierarchy; of one that does
            not, only the finest level has it, and coarser ones have their encoders' mirrors.
        compares: Whether it has a reconstruction loss of its own, see `compare`.
        starts_from_signals: Whether `prepare` makes first weights of signals.
    """

    gives_features: ClassVar[bool] = True
    compares: ClassVar[bool] = False
    starts_from_signals: ClassVar[bool] = False
    margin: int | None
    dim: int
    channels: int

    @property
    def last_weight(self) -> Tensor | None:
        """Returns the weight of its last layer, at which an `AdversarialObjective` compares the
        gradients of losses; `None` if there is none.
        """
        return None

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """Maps z (B, dim, *grid) to (B, channels, *size)."""

    def compare(self, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps z (B, dim, *grid) to (B, channels, *size), and returns with it how far it is from x,
        a scalar. It is called of those that say `compares`.
        """
        raise NotImplementedError

    def prepare(self, x: Tensor) -> None:  # noqa: B027 - most start at random
        """Makes its first weights of signals x (B, C, *size), if it `starts_from_signals`."""


class Encoder(nn.Module, ABC):
    """Abstract encoder: x (B, channels, *size) → z (B, dim, *grid).

    Attributes:
        dim: Channels of its output.
        downsampling: Signal positions per position of the grid, along each dimension. It must
            divide the size of the input, so other signals are padded first.
        width: Channels of the hidden features, which a finer level of a hierarchy passes on to a
            coarser one.
        narrow: Channels of the grid from which `VectorEncoder` makes one vector per signal.
        margin: The radius of its receptive field, in positions of the grid; `None` if a position
            depends on the whole signal, so that signals have one size.
        starts_from_signals: Whether `prepare` makes first weights of signals.
        takes_features: Whether it may encode the features of a finer level of a hierarchy; of one
            that does not, only the finest level has it.
    """

    starts_from_signals: ClassVar[bool] = False
    takes_features: ClassVar[bool] = True
    margin: int | None
    dim: int
    downsampling: int
    width: int
    narrow: int

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Maps x (B, C, *size) to (B, dim, *grid)."""

    def prepare(self, x: Tensor) -> None:  # noqa: B027 - most start at random
        """Makes its first weights of signals x (B, C, *size), if it `starts_from_signals`."""

    @abstractmethod
    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the grid of signals of a size."""

    @abstractmethod
    def mirror(self, signal: Signal, dim: int) -> Decoder:
        """Makes the decoder that goes the other way, of the same sizes.

        Arguments:
            signal: What it gives.
            dim: Channels of its input.
        """


def grid_of(encoder: nn.Module, size: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the size of the grid to which an encoder maps signals of a size.

    Example:
        >>> from smalti.networks import ConvEncoder, Features
        >>> grid_of(ConvEncoder(Features(3), 8, hidden=4), (30, 20))
        (8, 5)
    """
    if isinstance(encoder, Encoder):
        return encoder.grid(size)
    factor: int = encoder.downsampling  # type: ignore[assignment]
    return tuple(-(-length // factor) for length in size)
