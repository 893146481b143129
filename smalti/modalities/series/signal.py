"""The signal of time series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from smalti.counting import counted
from smalti.errors import InputError
from smalti.registry import registered
from smalti.signals import Signal

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Series"]


@registered
@dataclass(frozen=True)
class Series(Signal):
    """The signal of time series, such as of a sensor: batches (B, C, T), NaN in gaps.

    Arguments:
        channels: C.
        size: (T,), the steps of a window; an empty tuple if any length fits.
        rate: Steps per second; None if it is not known.
        names: The names of the channels; empty if they have none.

    Example:
        >>> Series(3, (128,), rate=64.0).shape
        (3, 128)
    """

    noun: ClassVar[str] = "series"
    plural: ClassVar[str] = "series"
    spatial_dims: ClassVar[int] = 1
    gaps: ClassVar[bool] = True
    words: ClassVar[frozenset[str]] = frozenset(
        "series timeseries window windows sensor sensors signal signals recording recordings record"
        " records ecg eeg emg imu motion csv tsv parquet npz npy ts arrow feather".split()
    )

    channels: int
    size: tuple[int, ...] = ()
    rate: float | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises `InputError` for what no series is."""
        self.check_fields()
        if len(self.names) not in (0, self.channels):
            raise InputError(
                f"The channels of a series have a name each or none, got "
                f"{counted(len(self.names), 'name')} of {counted(self.channels, 'channel')}: "
                f"give as many."
            )

    def check(self, x: Tensor) -> None:
        """Raises `InputError` unless `x` is a batch (B, C, T) of floating-point values.

        NaN is a gap; a series of gaps alone, or an infinite value, is none.
        """
        self.check_layout(x)
        if not x.is_floating_point():
            raise InputError(
                f"The model takes series of floating-point values, got {x.dtype}: give x.float()."
            )
        if bool((alone := x.isnan().flatten(1).all(1)).any()):
            raise InputError(
                f"A series has gaps where it is NaN, got NaN alone in {int(alone.sum())} of "
                f"{len(x)}: leave those out."
            )
        if bool(x.isinf().any()):
            raise InputError(
                f"The model takes series of finite values, and NaN for gaps, got infinity in "
                f"{int(x.isinf().flatten(1).any(1).sum())} of {len(x)}: put NaN in its place."
            )

    def finish(self, h: Tensor) -> Tensor:
        """Returns h as it is: a series may have any values."""
        return h

    @property
    def labels(self) -> tuple[str, ...]:
        """Returns what each channel is called, also where it has no name."""
        return self.names or tuple(f"channel {i}" for i in range(self.channels))

    def lasts(self, steps: int) -> str:
        """Says how long so many steps are, for messages.

        Example:
            >>> Series(1, rate=64.0).lasts(128), Series(1).lasts(128)
            ('128 steps (2 s)', '128 steps')
        """
        return f"{steps} steps" + (f" ({steps / self.rate:.3g} s)" if self.rate else "")
