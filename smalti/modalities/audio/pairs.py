"""Pairs of sounds to compare: an original and what a codec made of it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from smalti.arguments import as_floats, as_number, check_finite
from smalti.errors import InputError

__all__ = ["SILENCE", "as_pair", "as_rate", "is_silent", "like_given"]

SILENCE = 1e-5  # RMS: a third of the smallest step of 16 bits


def as_pair(x: Any, x_hat: Any, same_length: bool = True) -> tuple[Tensor, Tensor]:
    """Converts an original and a reconstruction to (B, C, T) in float64, on one device.

    Arguments:
        x: (B, C, T), or (T,) for one sound of one channel.
        x_hat: Likewise, of as many sounds and channels.
        same_length: Whether both must be equally long.

    Raises:
        InputError: If they are no such sounds, have no sample, or one is not finite.
    """
    pair = []
    for sound, what in ((x, "The sounds"), (x_hat, "The reconstructions")):
        sound = as_floats(sound, what)
        if sound.ndim not in (1, 3) or 0 in sound.shape:
            raise InputError(
                f"{what} have the shape (B, C, T), or (T,) for one, and no length of 0, got "
                f"{tuple(sound.shape)}: give them these dimensions."
            )
        check_finite(sound, what)
        pair.append(sound.detach().double())
    a, b = pair
    same = a.shape == b.shape if same_length else a.shape[:-1] == b.shape[:-1]
    if not same:
        raise InputError(
            f"Sounds and their reconstructions have the same shape, got {tuple(a.shape)} and "
            f"{tuple(b.shape)}: cut both to one length, as align does."
        )
    return (a, b.to(a.device)) if a.ndim == 3 else (a[None, None], b[None, None].to(a.device))


def as_rate(rate: Any) -> float:
    """Converts a rate in Hz to float.

    Raises:
        InputError: If it is no finite number above 0.
    """
    found = as_number(rate, "The rate of a sound", "give samples per second, e.g. 16000")
    if not 0 < found < math.inf:
        raise InputError(
            f"The rate of a sound is samples per second above 0, got {found:g}: give e.g. 16000."
        )
    return found


def is_silent(x: Tensor) -> Tensor:
    """Returns which sounds (…, T) are silent: their RMS is below `SILENCE`."""
    return x.square().mean(-1).sqrt() < SILENCE


def like_given(values: Tensor, given: Any) -> Tensor:
    """Returns values (B,) of a batch; the one value, without a dimension, where one was given."""
    return values[0] if torch.as_tensor(given).ndim == 1 else values
