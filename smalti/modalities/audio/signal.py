"""The signal of sounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from smalti.errors import InputError
from smalti.registry import registered
from smalti.signals import Bounded

__all__ = ["Sound"]


@registered
@dataclass(frozen=True, init=False)
class Sound(Bounded):
    """The signal of sounds: a batch has the shape (B, channels, T).

    Arguments:
        channels: 1 for mono, 2 for stereo.
        rate: Samples per second.
        size: (T,), the samples of an excerpt; an empty tuple if any length fits.
        low: Lowest value.
        high: Highest value.

    Example:
        >>> Sound(1, 8000, (4000,)).lasts(4000)
        '0.5 s'
    """

    noun: ClassVar[str] = "sound"
    plural: ClassVar[str] = "sounds"
    spatial_dims: ClassVar[int] = 1
    any_length: ClassVar[bool] = True
    forms: ClassVar[Mapping[int, str]] = {1: "mono", 2: "stereo"}
    words: ClassVar[frozenset[str]] = frozenset(
        "sound sounds audio audios wav wavs wave waves flac flacs mp3 mp3s ogg oggs clip clips"
        " recording recordings speech utterance utterances music song songs track tracks"
        " sample samples".split()
    )

    rate: int = 0  # which the constructor asks for

    def __init__(
        self,
        channels: int,
        rate: int,
        size: tuple[int, ...] = (),
        low: float = -1.0,
        high: float = 1.0,
    ) -> None:
        """Raises `InputError` for what no sound is; written out, for the rate to be second."""
        if not isinstance(rate, int) or isinstance(rate, bool):
            raise InputError(
                f"The rate of a sound is a whole number of samples per second, got {rate!r}: give "
                f"one such as 16000."
            )
        given = {"channels": channels, "size": size, "low": low, "high": high, "rate": rate}
        for name, value in given.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    def lasts(self, samples: int) -> str:
        """Says how long so many samples are, for messages."""
        return f"{samples / self.rate:.3g} s"
