"""Reads sound files for a trained model, and writes such files.

A file is resampled and mixed to what the model takes, and padded with silence where it is shorter.
One that is longer is told of, or cut where the user asks for that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.errors import InputError
from smalti.files import atomic_file
from smalti.modalities.audio.decoding import SoundFault, decode_sound
from smalti.modalities.audio.loudness import gain_to
from smalti.modalities.audio.signal import Sound
from smalti.outputs import MARK, check_file
from smalti.signals import Signal
from smalti.spelling import readable

__all__ = ["WRITTEN", "encode_sound", "read_sound", "write_sound"]

WRITTEN = (".wav", ".flac")
FORMATS = {".wav": "WAV", ".flac": "FLAC"}
FLAC_CHANNELS = 8
USUAL_RATE = 16_000


def read_sound(
    path: str | Path,
    signal: Signal,
    convert: bool = False,
    source: Mapping[str, Any] | None = None,
) -> Tensor:
    """Reads a sound file for a model: (C, T) in [-1, 1].

    Arguments:
        path: Path of the file.
        signal: The signal that the model takes; without a size, any length fits.
        convert: Whether a longer sound is cut to the model's length.
        source: The arguments of the source that the model's data were read with.

    Raises:
        InputError: If it is missing, cannot be read, or is longer than the model takes.
    """
    assert isinstance(signal, Sound)
    path, name = Path(path), readable(path)
    if path.is_dir() or not path.exists():
        hint = "name the files in this folder" if path.is_dir() else "check the path"
        raise InputError(f"There is no sound file {name}: {hint}.")
    try:
        samples, known = decode_sound(path, signal.rate, signal.channels)
    except (SoundFault, OSError) as error:
        raise InputError(f"{name} cannot be read as a sound ({error}): replace it.") from error
    if signal.size and len(samples) > signal.size[0]:
        if not convert:
            raise InputError(
                f"The model was trained on sounds of {signal.lasts(signal.size[0])}, got "
                f"{signal.lasts(len(samples))} in {name}: take it as long as it is with "
                f"--any_size, or --convert to cut it there."
            )
        samples = samples[: signal.size[0]]
    x = torch.from_numpy(np.ascontiguousarray(samples.T)).float()
    x *= gain_to(_loudness(source), known) / 32768
    return F.pad(x, (0, signal.size[0] - x.shape[1])) if signal.size else x


def write_sound(
    x: Tensor, path: str | Path, overwrite: bool = False, signal: Sound | None = None
) -> None:
    """Writes a sound (C, T) to a .wav or .flac file of 16 bits, atomically.

    Arguments:
        x: The sound, in [-1, 1].
        path: Path of the file.
        overwrite: Whether a file that smalti did not write may be replaced.
        signal: The signal, with the rate; 16,000 Hz where it is not given.

    Raises:
        InputError: If a value is not finite, or the file may not be replaced or has another suffix.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITTEN:
        raise InputError(
            f"Sounds are written as {' or '.join(WRITTEN)}, got {path.name}: choose one of the two."
        )
    rate = USUAL_RATE if signal is None else signal.rate
    Sound(len(x), rate).check(x.detach().float()[None])
    if suffix == ".flac" and len(x) > FLAC_CHANNELS:
        raise InputError(f"A .flac file has at most 8 channels, got {len(x)}: write a .wav.")
    check_file(path, overwrite)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        encode_sound(x, file, rate, FORMATS[suffix])


def encode_sound(x: Tensor, file: Any, rate: int, kind: str) -> None:
    """Writes a sound (C, T) in [-1, 1] of 16 bits to an opened file, with the mark of smalti."""
    with soundfile.SoundFile(
        file, "w", samplerate=rate, channels=len(x), format=kind, subtype="PCM_16"
    ) as sound:
        sound.software = MARK
        for start in range(0, x.shape[1], 1 << 16):
            part = x[:, start : start + (1 << 16)].detach().float().cpu().numpy().T
            sound.write(np.rint(np.clip(part * 32768, -32768, 32767)).astype(np.int16))


def _loudness(source: Mapping[str, Any] | None) -> float | None:
    """Returns the loudness that the data of a model were brought to, if one was given."""
    chosen = (source or {}).get("loudness")
    if not isinstance(chosen, int | float) or not math.isfinite(chosen):
        return None
    return float(chosen)
