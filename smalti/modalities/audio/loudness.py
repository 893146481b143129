"""How loud a sound is: its root mean square in decibels below full scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smalti.modalities.audio.decoding import SoundStatistics

__all__ = ["gain_to"]

MOST = 100.0  # times louder, at most: beyond 40 dB it is noise that is made loud


def gain_to(loudness: float | None, sound: SoundStatistics | None) -> float:
    """Returns what to multiply a sound by, so that it is as loud as wanted.

    Its peak stays within full scale, and it is made 40 dB louder at most.

    Arguments:
        loudness: The root mean square wanted, in decibels below full scale; None for any.
        sound: What is known of the sound; None for one that cannot be used.

    Example:
        >>> from smalti.modalities.audio.decoding import SoundStatistics
        >>> gain_to(-20.0, SoundStatistics(8000, 1, 8000, peak=0.2, rms=0.05, clipped=0.0))
        2.0
    """
    if loudness is None or sound is None or not sound.rms:
        return 1.0
    return round(min(10 ** (loudness / 20) / sound.rms, 1 / sound.peak, MOST), 12)
