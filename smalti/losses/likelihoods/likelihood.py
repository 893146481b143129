"""Likelihoods: distributions p(x | h) of a signal x given the decoder's output h.

    nll    = −log p(x | h)            nats, summed over the dimensions of a signal
    x_hat  = E[x | h]                 what is shown as the reconstruction

A distance between x̂ and x is no likelihood: only nats can be added to those of a prior, and only so
do models of different kinds become comparable, in bits per dimension:

    bits/dim = nats / (D · log 2)     D = C·H·W dimensions of a signal

Signals are 8-bit values here. A byte b stands for the value v = b / 127.5 − 1 in [-1, 1]; in
general one of L integers k stands for
v = 2k / (L − 1) − 1, the middle of a cell of width 2 / (L − 1).

A *discrete* likelihood gives each integer a probability: under the uniform one a value costs
log2 L bits. A *density* is of a continuous value, and its nats have no zero; times the width of a
cell it gives a byte the probability p(v) · 2/255, and so

    nats of 8-bit values = nats of the density + D · log(255 / 2)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from smalti.errors import InputError

__all__ = [
    "Likelihood",
    "LikelihoodOutput",
    "bits_per_dim",
    "from_integers",
    "to_integers",
    "uniform_noise",
]

Number = TypeVar("Number", float, Tensor)


class LikelihoodOutput(NamedTuple):
    """The negative log-likelihood of signals, and their reconstruction.

    Attributes:
        nll: (B,), −log p(x | h) in nats, summed over the dimensions.
        x_hat: (B, C, *size), E[x | h]; of an autoregressive likelihood the mean of each value given
            the true ones before it.
    """

    nll: Tensor
    x_hat: Tensor


class Likelihood(nn.Module, ABC):
    """Abstract: the distribution of signals x (B, C, *size) in [-1, 1] given h (B, D, *size).

    It is computed in float32 whatever the dtype of h is.

    Attributes:
        num_values: L, the number of values that a dimension can take; `None` for a density.
        autoregressive: Whether the distribution of a value depends on earlier values.
        gaps: Whether `forward` takes a third argument, `observed` (B, C, *size), bool, and leaves
            out what is False there.
    """

    num_values: int | None = None
    autoregressive: bool = False
    gaps: bool = False

    @property
    def discrete(self) -> bool:
        """Returns whether nll is of probabilities, not of a density."""
        return self.num_values is not None

    @abstractmethod
    def channels(self, c: int) -> int:
        """Returns D, the channels of h for a signal of c channels."""

    @abstractmethod
    def forward(self, h: Tensor, x: Tensor) -> LikelihoodOutput:
        """Returns −log p(x | h) and E[x | h].

        Arguments:
            h: (B, channels(C), *size).
            x: (B, C, *size) in [-1, 1]; a discrete likelihood takes the nearest of its L values.

        Raises:
            InputError: If the shapes do not fit.
        """

    @abstractmethod
    def point_estimate(self, h: Tensor) -> Tensor:
        """Returns E[x | h], (B, C, *size); of an autoregressive likelihood a draw."""

    @abstractmethod
    def sample(self, h: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draws x ~ p(x | h), (B, C, *size), without gradients.

        Arguments:
            h: (B, channels(C), *size).
            generator: Source of randomness, on any device; torch's global one if there is none.
        """

    def discretised(self, nats: Number, dims: int) -> Number:
        """Returns the nats of 8-bit values: of a density, its nats with each cell's width in them.

        Arguments:
            nats: Summed over the dimensions, as `forward` gives them.
            dims: D, dimensions of a signal.
        """
        return nats if self.discrete else nats + dims * math.log(255 / 2)

    def _check(self, h: Tensor, x: Tensor) -> None:
        """Raises `InputError` unless h has the channels for x, and its size."""
        wanted = (len(x), self.channels(x.shape[1]), *x.shape[2:]) if x.ndim > 1 else None
        if tuple(h.shape) != wanted:
            raise InputError(
                f"A {type(self).__name__} of signals {tuple(x.shape)} takes h of the shape "
                f"{wanted}, got {tuple(h.shape)}: give the decoder "
                f"likelihood.channels(C) output channels."
            )


def bits_per_dim(nats: Number, dims: int) -> Number:
    """Converts nats per signal to bits per dimension; 8-bit values cost 8 without any model.

    Arguments:
        nats: −log p(x), or a bound on it, summed over the dimensions.
        dims: D = C·H·W.

    Example:
        >>> round(bits_per_dim(3072 * math.log(256), 3072), 6)
        8.0
    """
    return nats / (dims * math.log(2))


def to_integers(x: Tensor, num_values: int = 256) -> Tensor:
    """Rounds values in [-1, 1] to the nearest of L integers, int64 in [0, L); 0 stands for -1.

    Arguments:
        x: Values; those outside of [-1, 1] are clipped.
        num_values: L, at least 2.

    Example:
        >>> to_integers(torch.tensor([-1.0, 0.0, 1.0])).tolist()
        [0, 128, 255]
        >>> to_integers(torch.ones(1), num_values=4).tolist()
        [3]
    """
    scaled = (x.float() + 1) * ((num_values - 1) / 2)
    return scaled.round().clamp(0, num_values - 1).long()


def from_integers(k: Tensor, num_values: int = 256) -> Tensor:
    """Inverts `to_integers`: maps k in [0, L) to 2k / (L − 1) − 1 in [-1, 1], float32.

    Arguments:
        k: Integers in [0, L).
        num_values: L.
    """
    return k.float() * (2 / (num_values - 1)) - 1


def uniform_noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draws uniform numbers in [0, 1) of the shape of `like`, on the generator's device."""
    where = like.device if generator is None else generator.device
    return torch.rand(like.shape, generator=generator, device=where).to(like.device)
