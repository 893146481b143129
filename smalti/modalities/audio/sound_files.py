"""Reads sound files for a trained model, and writes such files.

A file is resampled and mixed to what the model takes, and padded with silence where it is shorter.
One that is longer is told of, or cut where the user asks for that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
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

__all__ = [
    "WRITTEN",
    "encode_sound",
    "joined",
    "read_marked",
    "read_part",
    "read_sound",
    "read_whole",
    "write_sound",
]

WRITTEN = (".wav", ".flac")
FORMATS = {".wav": "WAV", ".flac": "FLAC"}
FLAC_CHANNELS = 8
USUAL_RATE = 16_000
GAP = 0.25  # s
SECONDS = r"\d{1,9}(?:\.\d{1,9})?"
PART = re.compile(rf"(begin|end)(?:\s+({SECONDS})\s*s?)?")
STRETCH = rf"(?:{SECONDS}-(?:{SECONDS})?|-{SECONDS})"
STRETCHES = re.compile(rf"{STRETCH}(?:,{STRETCH})*")


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
    x = read_whole(path, signal, source)
    if signal.size and x.shape[1] > signal.size[0]:
        if not convert:
            raise InputError(
                f"The model was trained on sounds of {signal.lasts(signal.size[0])}, got "
                f"{signal.lasts(x.shape[1])} in {readable(path)}: take it as long as it is with "
                f"--any_size, or --convert to cut it there."
            )
        x = x[:, : signal.size[0]]
    return F.pad(x, (0, signal.size[0] - x.shape[1])) if signal.size else x


def read_whole(path: str | Path, signal: Signal, source: Mapping[str, Any] | None = None) -> Tensor:
    """Reads a sound file at the rate and with the channels of a signal, as long as it is: (C, T).

    Raises:
        InputError: If it is missing, or cannot be read.
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
    x = torch.empty(signal.channels, len(samples))
    x.copy_(torch.from_numpy(samples).T)
    return x.mul_(gain_to(_loudness(source), known) / 32768)


def read_part(
    path: str | Path,
    signal: Signal,
    keep: str | None = None,
    source: Mapping[str, Any] | None = None,
) -> tuple[Tensor, Tensor]:
    """Reads the begin or the end of a sound, to be completed; silence is where nothing is given.

    Of a file that is shorter than the model's sounds all is given, and what follows it is made. Of
    any other it is the half, or so many seconds as `keep` says.

    Arguments:
        path: Path of the file.
        signal: The signal that the model takes.
        keep: "begin" or "end", alone or with seconds: "begin 0.5".
        source: See `read_sound`.

    Returns:
        x (C, T) and `given` (T,), bool.

    Raises:
        InputError: If it cannot be read, there is no such part, or nothing is left to be made.
    """
    assert isinstance(signal, Sound)
    words = PART.fullmatch((keep or "begin").strip())
    if words is None:
        raise InputError(
            f"There is no part {keep!r}: keep begin or end, or so many seconds of it, as in "
            f"'begin 0.5'."
        )
    x = read_whole(path, signal, source)
    there = x.shape[1]
    size = signal.size[0] if signal.size else there
    known = there if keep is None and there < size else max(1, size // 2)
    if words[2] is not None:
        known = round(min(float(words[2]), 1e9) * signal.rate)
    known = min(known, there)
    if not 0 < known < size:
        raise InputError(
            f"A part of {readable(path)} is given and the rest of {signal.lasts(size)} is made, "
            f"got {signal.lasts(known)} that are given: keep more than nothing and less than all."
        )
    made, given = x.new_zeros(len(x), size), torch.zeros(size, dtype=torch.bool)
    if words[1] == "end":
        made[:, size - known :], given[size - known :] = x[:, there - known :], True
    else:
        made[:, :known], given[:known] = x[:, :known], True
    return made, given


def read_marked(
    path: str | Path, signal: Signal, source: Mapping[str, Any] | None = None
) -> Tensor:
    """Reads which samples are to be edited: (T,), bool.

    Arguments:
        path: Stretches of seconds, such as "0.5-1.2" or "0-0.25,0.9-", which goes to the end; or
            the path of a sound of the model's rate and length, above half of full scale there.
        signal: The signal that the model takes.
        source: See `read_sound`.

    Raises:
        InputError: If it is neither, or marks nothing.
    """
    assert isinstance(signal, Sound)
    text = str(path).replace(" ", "")
    if STRETCHES.fullmatch(text) and not Path(path).exists():
        if not signal.size:
            raise InputError(
                f"Stretches of seconds are of sounds of one length, got {path}: give a sound that "
                f"marks them."
            )
        marked = torch.zeros(signal.size, dtype=torch.bool)
        for stretch in text.split(","):
            begin, end = (float(word) if word else None for word in stretch.split("-"))
            last = signal.size[0] if end is None else round(end * signal.rate)
            marked[round((begin or 0.0) * signal.rate) : last] = True
    else:
        x = read_whole(path, replace(signal, channels=1))
        marked = x[0] > 0.5
        if signal.size and len(marked) != signal.size[0]:
            raise InputError(
                f"The mask {readable(path)} lasts {signal.lasts(len(marked))}, and the model's "
                f"sounds {signal.lasts(signal.size[0])}: give one of the same length, or stretches "
                f"of seconds such as 0.5-1.2."
            )
    if not bool(marked.any()):
        raise InputError(
            f"The mask {readable(path)} marks nothing: give stretches of seconds such as 0.5-1.2, "
            f"or a sound above half of full scale where something is edited."
        )
    return marked


def joined(sounds: Sequence[Tensor], rate: int) -> Tensor:
    """Joins sounds (C, T), one after another, with a quarter of a second of silence between."""
    gap = sounds[0].new_zeros(len(sounds[0]), round(GAP * rate))
    parts = [part for one in sounds for part in (one, gap)]
    return torch.cat(parts[:-1], dim=1)


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
