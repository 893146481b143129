"""What a model was trained on: the kind of signal, its channels, size and range.

Every tokenizer stores a `Signal` and checks its input against it, so that a grey image given to a
model of colour images, or bytes given in place of [-1, 1], is an error with one line and not a
wrong result.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from smalti.errors import InputError
from smalti.ranges import check, range_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Signal"]


@dataclass(frozen=True)
class Signal:
    """A kind of signal with its layout: a batch of it has the shape (B, channels, *size).

    Arguments:
        kind: `"image"` or `"audio"`.
        channels: 1 for grey images and mono sound, 3 for colour.
        size: (H, W) of an image, (T,) of a sound; an empty tuple where any size goes.
        low: Lowest value.
        high: Highest value.
        rate: Samples per second, for sound.
    """

    kind: str
    channels: int
    size: tuple[int, ...] = ()
    low: float = -1.0
    high: float = 1.0
    rate: int | None = None

    def __post_init__(self) -> None:
        """Raises `InputError` for what no signal is."""
        numbers = (self.channels, *self.size, *([] if self.rate is None else [self.rate]))
        whole = all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in numbers)
        if self.kind not in ("image", "audio") or not whole:
            raise InputError(
                f"A signal is an image or audio whose channels, size and rate are whole numbers "
                f"from 1 on, got {self.kind!r} with {self.channels}, {self.size} and {self.rate}: "
                f"correct them."
            )
        if len(self.size) not in (0, self.spatial_dims):
            raise InputError(
                f"The size of {self.kind} has {self.spatial_dims} numbers, or none where any size "
                f"goes, got {self.size}: give as many."
            )
        if not -math.inf < self.low < self.high < math.inf:
            raise InputError(
                f"The values of a signal lie between two finite numbers, got {self.low} to "
                f"{self.high}: give two, the lower first."
            )
        for name, value in asdict(self).items():
            check(f"The {name} of a signal", value, range_of("Signal", name))

    @property
    def spatial_dims(self) -> int:
        """2 for images, 1 for sound."""
        return 1 if self.kind == "audio" else 2

    def check(self, x: Tensor) -> None:
        """Raises `InputError` unless `x` is a batch of this signal, floating and within range."""
        wanted = f"(B, {self.channels}, {', '.join(map(str, self.size)) or '*size'})"
        if x.ndim != 2 + self.spatial_dims:
            one = f"a single {self.kind} x is x[None]"
            mend = one if x.ndim == 1 + self.spatial_dims else "give it these dimensions"
            raise InputError(
                f"A batch of {self.kind}s has the shape {wanted}, got {tuple(x.shape)}: {mend}."
            )
        if x.shape[1] != self.channels:
            trained = "grey" if self.channels == 1 else "colour"
            raise InputError(
                f"The model was trained on {self.kind}s with {self.channels} channel(s), "
                f"got {x.shape[1]}: convert them to {trained} first."
            )
        if self.size and tuple(x.shape[2:]) != tuple(self.size):
            raise InputError(
                f"The model was trained on {self.kind}s of size {_times(self.size)}, "
                f"got {_times(x.shape[2:])}: resize or crop them first."
            )
        if min(x.shape[2:]) < 1:
            raise InputError(
                f"A batch of {self.kind}s has the shape {wanted}, got {tuple(x.shape)} without a "
                f"value: give {self.kind}s of at least one value each way."
            )
        if not x.is_floating_point():
            middle, half = (self.high + self.low) / 2, (self.high - self.low) / 2
            scaled = f"x.float() * {2 * half:g} / 255 - {half - middle:g}"
            raise InputError(
                f"The model takes floating-point values in [{self.low}, {self.high}], got "
                f"{x.dtype}: scale them, bytes x by {scaled}."
            )
        slack = 1e-3 * (self.high - self.low)
        if x.numel() and bool(x.isnan().any()):
            raise InputError(
                f"The model takes values in [{self.low}, {self.high}], got NaN: correct or leave "
                f"out those {self.kind}s."
            )
        if x.numel() and not bool(((x >= self.low - slack) & (x <= self.high + slack)).all()):
            raise InputError(
                f"The model takes values in [{self.low}, {self.high}], got values in "
                f"[{x.min().item():.4g}, {x.max().item():.4g}]: scale them first."
            )

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return {**asdict(self), "size": list(self.size)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Signal:
        """The inverse of `to_dict`."""
        return cls(**{**fields, "size": tuple(fields["size"])})


def _times(size: tuple[int, ...]) -> str:
    return "×".join(map(str, size))
