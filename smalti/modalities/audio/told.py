"""Says in a few lines what sounds were found: how long, at which rates, and what is odd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from smalti.counting import counted
from smalti.modalities.audio.recordings import FoundSounds, Recordings
from smalti.modalities.audio.signal import Sound
from smalti.spelling import listed

__all__ = ["describe_sounds", "lasting"]

CLIPPED = 1e-3  # share of samples at full scale, from which on a sound is named
NAMED = 3
QUIET = 0.001  # of full scale: a peak below is at -60 dB


def describe_sounds(
    decoded: Mapping[str, Recordings],
    seen: Mapping[str, FoundSounds],
    excerpts: Mapping[str, int],
    signal: Sound,
) -> list[str]:
    """Describes the sounds of all splits.

    Arguments:
        decoded: The decoded sounds of each split.
        seen: What their files are.
        excerpts: The number of excerpts of each split.
        signal: The signal that they became.
    """
    known = [
        (name, one)
        for split, part in decoded.items()
        for name, one in zip(seen[split].names, part.statistics, strict=True)
        if one is not None
    ]
    lengths = np.array([one.samples for _, one in known]) / signal.rate
    (size,) = signal.size
    lines = [
        f"{lasting(float(lengths.sum()))} at {signal.rate} Hz, {signal.forms[signal.channels]}: "
        f"sounds of {lasting(float(lengths.min()))} to {lasting(float(lengths.max()))}, half of "
        f"them longer than {lasting(float(np.median(lengths)))}"
    ]
    padded = int((lengths * signal.rate < size).sum())
    n = sum(excerpts.values())
    lines.append(
        f"excerpts: {n} of {lasting(size / signal.rate)}"
        + f", {padded} of which end in silence, for their sounds are shorter" * bool(padded)
    )
    lines += _converted(Counter(one.rate for _, one in known), signal)
    forms = Counter(one.channels for _, one in known if one.channels != signal.channels)
    if forms:
        words = [f"{n} with {counted(k, 'channel')}" for k, n in forms.most_common()]
        lines.append(f"mixed to {signal.forms[signal.channels]}: {listed(words, 4)}")
    clipped = [f"{name} ({one.clipped:.1%})" for name, one in known if one.clipped > CLIPPED]
    if clipped:
        lines.append(
            f"clipped, with more than {CLIPPED:.1%} of the samples at full scale: "
            f"{counted(len(clipped), 'sound')}, {listed(clipped, NAMED)}"
        )
    quiet = [name for name, one in known if one.peak < QUIET]
    if quiet:
        lines.append(
            f"hardly heard, below -60 dB of full scale: {counted(len(quiet), 'sound')}, "
            f"{listed(quiet, NAMED)}"
        )
    return lines


def _converted(rates: Counter[int], signal: Sound) -> list[str]:
    """Says which sounds were resampled."""
    others = {rate: n for rate, n in rates.most_common() if rate != signal.rate}
    if not others:
        return []
    words = [f"{n} of {rate} Hz" for rate, n in others.items()]
    low = sum(n for rate, n in others.items() if rate < signal.rate)
    below = f"; {counted(low, 'sound')} of a lower rate lack the high frequencies" * bool(low)
    return [f"resampled to {signal.rate} Hz: {listed(words, 4)}{below}"]


def lasting(seconds: float) -> str:
    """Says how long something is.

    Example:
        >>> lasting(0.25), lasting(83), lasting(5400)
        ('0.25 s', '1 min 23 s', '1 h 30 min')
    """
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
