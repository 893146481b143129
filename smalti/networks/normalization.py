"""Normalization of signals before the encoder, and its inverse after the decoder.

    y = forward(x)        x = inverse(y)        x (B, C, *size) raw, y (B, D, *size)

An autoencoder that has one encodes y and reconstructs y, so that its loss weighs the values as they
are normalized; `decode` goes back to x. It acts at each place of the grid by itself, the same at
all of them, is learned on the training rows once, and is saved with the model.

    centred         y = x − m                         m = mean
    rescaled        y = (x − m) / s                   s² = mean of the channels' variances
    standardised    y = (x − m) / s                   s = standard deviation of each channel
    whitened        y = R (x − m) / s                 rows of R: eigenvectors of the covariance,
                                                      s² its eigenvalues, the largest first
    unit length     y = x / ‖x‖                       the length is gone: x is not had back

A value that is missing is NaN, and so it stays; means and deviations are those of what is there.
What spreads less than the rounding of float32 is constant: it is centred, and not blown up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor

from smalti.counting import counted
from smalti.errors import InputError
from smalti.networks.moments import Moments
from smalti.nn.precision import KeepsFloat32
from smalti.registry import registered

__all__ = [
    "Affine",
    "Normalization",
    "UnitLength",
    "Whitening",
    "network_input",
    "normalized_channels",
]


class Normalization(KeepsFloat32, ABC):
    """Abstract: maps signals (B, C, *size) to what networks see (B, D, *size), and back.

    Attributes:
        mixes: Whether a value of y depends on several channels of x, so that none may be missing.
    """

    mixes: bool = False

    @abstractmethod
    def channels(self, c: int) -> int:
        """Returns D of signals with c channels.

        Raises:
            InputError: If it was made for signals of another number of channels.
        """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Returns y of x (B, C, *size), in its dtype; NaN where x is NaN."""

    @abstractmethod
    def inverse(self, y: Tensor) -> Tensor:
        """Returns x of y (B, D, *size), in its dtype."""

    @abstractmethod
    def volume(self, x: Tensor) -> Tensor | None:
        """Returns log |det ∂x/∂y| of signals x (B, C, *size), in nats (B,).

        So much more does a density say of y than of x. `None` where several x have the same y.
        """


@registered
class Affine(Normalization):
    """Standardizes each channel: y = (x − mean) / scale. `of` and `learned` make one.

    Arguments:
        channels: C.

    Attributes:
        mean: (C,).
        scale: (C,), above 0.

    Example:
        >>> normalization = Affine.learned([torch.tensor([[1.0, 8.0], [3.0, 8.0]])])
        >>> y = normalization(torch.tensor([[4.0, 9.0]]))
        >>> y, normalization.inverse(y)
        (tensor([[2., 1.]]), tensor([[4., 9.]]))
    """

    in_float32 = ("mean", "scale")
    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, dtype=torch.float32))
        self.register_buffer("scale", torch.ones(channels, dtype=torch.float32))

    @classmethod
    def of(cls, mean: Tensor, scale: Tensor) -> Self:
        """Makes that of a mean (C,) and a scale (C,).

        Raises:
            InputError: If one is not finite, or a scale is not above 0.
        """
        _check_finite(mean, scale)
        made = cls(len(mean))
        made.mean.copy_(mean)
        made.scale.copy_(scale)
        return made

    @classmethod
    def learned(cls, chunks: Iterable[Tensor], *, scaled: bool = True, alike: bool = False) -> Self:
        """Learns the mean, and the standard deviation of each channel.

        Arguments:
            chunks: Training signals (B, C, *size), in pieces; NaN where a value is missing.
            scaled: Whether values are scaled; if not, they are centred alone.
            alike: Whether all channels have one scale, so that distances keep their proportions.

        Raises:
            InputError: If there is no value of a channel, or one is infinite.
        """
        moments = Moments.of(chunks)
        variance, rounding = moments.covariance, moments.rounding
        if alike:
            variance, rounding = (v.mean().expand(len(v)) for v in (variance, rounding))
        scale = torch.where((variance > rounding) & scaled, variance, 1.0).sqrt()
        return cls.of(moments.mean, scale)

    def channels(self, c: int) -> int:
        """See `Normalization.channels`: as many as before."""
        return _checked(c, len(self.mean))

    def forward(self, x: Tensor) -> Tensor:
        """See `Normalization.forward`."""
        mean, scale = _along(self.mean, x), _along(self.scale, x)
        return ((x - mean) / scale).to(x.dtype)

    def inverse(self, y: Tensor) -> Tensor:
        """See `Normalization.inverse`."""
        return (y * _along(self.scale, y) + _along(self.mean, y)).to(y.dtype)

    def volume(self, x: Tensor) -> Tensor:
        """See `Normalization.volume`: of the values that are there."""
        each = torch.where(x.isnan(), 0.0, _along(self.scale, x).log())
        return each.flatten(1).sum(1)

    def extra_repr(self) -> str:
        return f"channels={len(self.mean)}"


@registered
class Whitening(Normalization):
    """Whitens the channels by PCA: y = R (x − mean) / scale is uncorrelated, of variance 1.

    `of` and `learned` make one.

    If D < C, `inverse` gives the mean in the directions that are left out.

    Arguments:
        channels: C.
        dims: D, at most C.

    Attributes:
        mean: (C,).
        rotation: R (D, C), orthonormal rows.
        scale: (D,), above 0.

    Raises:
        InputError: If D is more than C.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [2.0, 2.0], [0.0, 1.0], [2.0, 1.0]])
        >>> whitening = Whitening.learned([x])
        >>> y = whitening(x)
        >>> torch.allclose(y.T @ y / 4, torch.eye(2), atol=1e-5)
        True
        >>> torch.allclose(whitening.inverse(y), x, atol=1e-5)
        True
    """

    in_float32 = ("mean", "rotation", "scale")
    mixes = True
    mean: Tensor
    rotation: Tensor
    scale: Tensor

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        if not 1 <= dims <= channels:
            raise InputError(
                f"Whitening keeps 1 to {channels} directions of {counted(channels, 'channel')}, "
                f"got dims={dims}: keep fewer."
            )
        self.register_buffer("mean", torch.zeros(channels, dtype=torch.float32))
        self.register_buffer("rotation", torch.eye(dims, channels, dtype=torch.float32))
        self.register_buffer("scale", torch.ones(dims, dtype=torch.float32))

    @classmethod
    def of(cls, mean: Tensor, rotation: Tensor, scale: Tensor) -> Self:
        """Makes that of a mean (C,), orthonormal rows (D, C) and a scale (D,).

        Raises:
            InputError: If one is not finite, or a scale is not above 0.
        """
        _check_finite(mean, scale, rotation)
        made = cls(len(mean), len(scale))
        made.mean.copy_(mean)
        made.rotation.copy_(rotation)
        made.scale.copy_(scale)
        return made

    @classmethod
    def learned(cls, chunks: Iterable[Tensor], dims: int | None = None) -> Self:
        """Learns the principal directions.

        Arguments:
            chunks: Training signals (B, C, *size), in pieces; where a channel is missing, that
                place is left out.
            dims: D, how many directions are kept, those of the largest variance. Default: all in
                which the signals vary, from which x is had back.

        Raises:
            InputError: If there are no values, one is infinite, or the signals vary in fewer
                directions.
        """
        moments = Moments.of(chunks, joint=True)
        variances, directions = torch.linalg.eigh(moments.covariance)  # ascending, (C, C)
        variances, directions = variances.flip(0), directions.flip(1)
        varies = int((variances > moments.rounding.sum()).sum())
        kept = varies if dims is None else dims
        if not 1 <= kept <= varies:
            raise InputError(
                f"Whitening keeps directions in which the training rows vary, which are {varies} "
                f"here, got {kept}: keep fewer, or choose no whitening."
            )
        rows = directions[:, :kept].T
        # Either sign is an eigenvector; this one whatever the machine.
        largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
        return cls.of(moments.mean, rows * largest.sign(), variances[:kept].sqrt())

    def channels(self, c: int) -> int:
        """See `Normalization.channels`: D."""
        _checked(c, len(self.mean))
        return len(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """See `Normalization.forward`."""
        y = _mapped(x - _along(self.mean, x), self.rotation.T)
        return (y / _along(self.scale, y)).to(x.dtype)

    def inverse(self, y: Tensor) -> Tensor:
        """See `Normalization.inverse`."""
        x = _mapped(y * _along(self.scale, y), self.rotation)
        return (x + _along(self.mean, x)).to(y.dtype)

    def volume(self, x: Tensor) -> Tensor | None:
        """See `Normalization.volume`; `None` where directions are left out."""
        if self.rotation.shape[0] < self.rotation.shape[1]:
            return None
        places = x[0, 0].numel()
        return (places * self.scale.log().sum()).to(x.dtype).expand(len(x))

    def extra_repr(self) -> str:
        return f"channels={len(self.mean)}, dims={len(self.scale)}"


@registered
class UnitLength(Normalization):
    """Scales the vector of channels at each place to unit length: y = x / ‖x‖; 0 stays 0.

    The length is lost: `inverse` gives y itself.

    Example:
        >>> UnitLength()(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """

    mixes = True

    def channels(self, c: int) -> int:
        """See `Normalization.channels`: as many as before."""
        return c

    def forward(self, x: Tensor) -> Tensor:
        """See `Normalization.forward`."""
        tiny = torch.finfo(torch.float32).tiny
        # In two steps, for the squares of large or small numbers are out of range.
        y = x.float() / x.float().abs().amax(1, keepdim=True).clamp(min=tiny)
        return (y / torch.linalg.vector_norm(y, dim=1, keepdim=True).clamp(min=tiny)).to(x.dtype)

    def inverse(self, y: Tensor) -> Tensor:
        """Returns y: what length x had is not known."""
        return y

    def volume(self, x: Tensor) -> None:
        """See `Normalization.volume`: there is none."""


def _along(values: Tensor, x: Tensor) -> Tensor:
    """Returns values (C,) so that they lie along the channels of x (B, C, *size)."""
    return values.view(-1, *[1] * (x.ndim - 2))


def _mapped(x: Tensor, matrix: Tensor) -> Tensor:
    """Maps the channels of x (B, C, *size) by a matrix (C, D), in full precision."""
    with torch.autocast(x.device.type, enabled=False):
        return (x.movedim(1, -1) @ matrix.to(x.dtype)).movedim(-1, 1)


def _checked(c: int, own: int) -> int:
    if c != own:
        raise InputError(
            f"The normalization is of signals with {counted(own, 'channel')}, got {c}: learn it on "
            f"such signals."
        )
    return c


def _check_finite(mean: Tensor, scale: Tensor, *others: Tensor) -> None:
    """Raises `InputError` if a number is not finite in float32, or a scale is not above 0."""
    if not all(bool(t.float().isfinite().all()) for t in (mean, scale, *others)):
        raise InputError(
            "A normalization is of finite numbers, got NaN or infinity: correct those rows."
        )
    if not bool((scale.float() > 0).all()):
        raise InputError(
            "The scale of a normalization is above 0, got one that is not: take 1 for a channel "
            "that is constant."
        )


def network_input(x: Tensor, normalization: Normalization | None) -> Tensor:
    """Normalizes signals (B, C, *size), if there is a normalization; missing values become 0."""
    return (x if normalization is None else normalization(x)).nan_to_num(nan=0.0)


def normalized_channels(channels: int, normalization: Normalization | None) -> int:
    """Returns the channels of signals after normalization, if there is one."""
    return channels if normalization is None else normalization.channels(channels)
