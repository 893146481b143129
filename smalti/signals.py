"""Signals: the shape and the range of values of what a model encodes and decodes.

Every autoencoder stores its `Signal` and checks its input against it, so that a signal of one
channel given to a model of three, or bytes given in place of [-1, 1], is an error with one line and
not a wrong result. Each kind of data defines its own signals, in its room of `smalti.modalities`:

    @registered
    @dataclass(frozen=True)
    class Pulse(Bounded):
        noun, plural = "pulse", "pulses"
        spatial_dims = 1
        channels: int
        size: tuple[int, ...] = ()
        low: float = -1.0
        high: float = 1.0
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from smalti.errors import InputError
from smalti.ranges import check_range, range_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Bounded", "Signal", "format_size"]


class Signal(ABC):
    """Abstract: a kind of signal. A batch of it has the shape (B, channels, *size).

    A concrete signal is a registered, frozen dataclass, whose arguments a saved model holds. It
    calls `check_fields` in its `__post_init__`; `Bounded` does.

    Attributes:
        noun: What messages call one of them: "pulse".
        plural: What messages call several: "pulses".
        spatial_dims: The number of dimensions of the grid: 0, 1 or 2.
        forms: Words for numbers of channels: {1: "mono"}.
        words: Words for such data in names of folders, which are no labels: "photos".
        any_length: Whether commands that write files take them as long as they are, where the model
            can, without being asked to.
        gaps: Whether values may be missing (NaN). Networks see 0 there, and losses leave them out.
        channels: The number of values at each place of the grid.
        size: The lengths of the grid; an empty tuple if any size fits, or there is no grid.
    """

    noun: ClassVar[str]
    plural: ClassVar[str]
    spatial_dims: ClassVar[int]
    forms: ClassVar[Mapping[int, str]] = {}
    words: ClassVar[frozenset[str]] = frozenset()
    gaps: ClassVar[bool] = False
    any_length: ClassVar[bool] = False

    channels: int
    size: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns the shape of one signal, (channels, *size)."""
        return (self.channels, *self.size)

    @abstractmethod
    def check(self, x: Tensor) -> None:
        """Raises `InputError` unless `x` is a batch of this signal."""

    @abstractmethod
    def finish(self, h: Tensor) -> Tensor:
        """Makes of a decoder's output what the user sees: values that this signal may have."""

    def check_fields(self) -> None:
        """Raises `InputError` for channels and a size that no signal has, or a number far out."""
        numbers = (self.channels, *self.size)
        if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in numbers):
            raise InputError(
                f"The channels and the size of a signal are whole numbers from 1 on, got "
                f"{self.channels} and {self.size}: correct them."
            )
        if len(self.size) not in (0, self.spatial_dims):
            raise InputError(
                f"The size of {self.plural} has {self.spatial_dims} numbers, or none where any "
                f"size goes, got {self.size}: give as many."
            )
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            check_range(f"The {field.name} of a signal", value, range_of(type(self), field.name))

    def check_layout(self, x: Tensor) -> None:
        """Raises `InputError` unless `x` has the shape of a batch of this signal."""
        lengths = [*map(str, self.size)] or ["*size"] * (self.spatial_dims > 0)
        wanted = f"({', '.join(['B', str(self.channels), *lengths])})"
        if x.ndim != 2 + self.spatial_dims:
            one = f"a single {self.noun} x is x[None]"
            mend = one if x.ndim == 1 + self.spatial_dims else "give it these dimensions"
            raise InputError(
                f"A batch of {self.plural} has the shape {wanted}, got {tuple(x.shape)}: {mend}."
            )
        if x.shape[1] != self.channels:
            trained = self.forms.get(self.channels, f"{self.channels} channel(s)")
            raise InputError(
                f"The model was trained on {self.plural} with {self.channels} channel(s), "
                f"got {x.shape[1]}: convert them to {trained} first."
            )
        if self.size and tuple(x.shape[2:]) != tuple(self.size):
            raise InputError(
                f"The model was trained on {self.plural} of size {format_size(self.size)}, "
                f"got {format_size(x.shape[2:])}: resize or crop them first."
            )
        if 0 in x.shape[1:]:
            raise InputError(
                f"A batch of {self.plural} has the shape {wanted}, got {tuple(x.shape)} without a "
                f"value: give {self.plural} of at least one value each way."
            )


@dataclass(frozen=True)
class Bounded(Signal, ABC):
    """Abstract: a signal of floating-point values between a lowest and a highest value.

    Arguments:
        channels: The number of values at each place of the grid.
        size: The lengths of the grid; an empty tuple if any size fits.
        low: Lowest value.
        high: Highest value.
    """

    channels: int
    size: tuple[int, ...] = ()
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        """Raises `InputError` for what no signal is."""
        if not -math.inf < self.low < self.high < math.inf:
            raise InputError(
                f"The values of a signal lie between two finite numbers, got {self.low} to "
                f"{self.high}: give two, the lower first."
            )
        self.check_fields()

    def check(self, x: Tensor) -> None:
        """Raises `InputError` unless `x` is a batch of this signal, floating and within range."""
        middle, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        scaled = f"x.float() * {2 * half:g} / 255 - {half - middle:g}"
        whole = (self.channels, *(self.size or x.shape[2:]))
        if str(x.dtype) == "torch.uint8" and x.shape[1:] != whole:  # torch is not imported here
            raise InputError(
                f"Bytes are not guessed at, got {x.dtype} of the shape {tuple(x.shape)}: give "
                f"files, or (B, {self.channels}, {', '.join(map(str, self.size)) or '*size'}) "
                f"scaled by {scaled}."
            )
        self.check_layout(x)
        if not x.is_floating_point():
            raise InputError(
                f"The model takes floating-point values in [{self.low}, {self.high}], got "
                f"{x.dtype}: scale them, bytes x by {scaled}."
            )
        slack = 1e-3 * (self.high - self.low)
        if x.numel() and bool(x.isnan().any()):
            raise InputError(
                f"The model takes values in [{self.low}, {self.high}], got NaN: correct or leave "
                f"out those {self.plural}."
            )
        if x.numel() and not bool(((x >= self.low - slack) & (x <= self.high + slack)).all()):
            raise InputError(
                f"The model takes values in [{self.low}, {self.high}], got values in "
                f"[{x.min().item():.4g}, {x.max().item():.4g}]: scale them first."
            )

    def finish(self, h: Tensor) -> Tensor:
        """Clips to the range of the values."""
        return h.clamp(self.low, self.high)


def format_size(size: tuple[int, ...]) -> str:
    """Formats the size of a grid for messages: "64×64".

    Example:
        >>> format_size((28, 20))
        '28×20'
    """
    return "×".join(map(str, size))
