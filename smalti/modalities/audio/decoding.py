"""Decodes one sound of any format: resampled, mixed to the channels wanted, as 16-bit samples.

No file is trusted. A header only says how to decode: how many frames there are is found out by
decoding, block by block, and a sound of more than 2³⁰ values is refused once it has given so many.
So memory follows from what is there, never from what a header claims.

    file ── blocks (frames, C), float32 ──▶ mixed ──▶ resampled (soxr) ──▶ 16 bits, clipped to ±1

Mixing down is the mean of the channels; mono is made stereo by its copy.
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from smalti.data.file_tree import is_regular
from smalti.errors import first_line

__all__ = [
    "READ",
    "Content",
    "Header",
    "SoundFault",
    "SoundStatistics",
    "blocks_of",
    "check_heard",
    "decode_sound",
    "describe_read_error",
    "read_header",
    "wav_bytes",
]

Content = bytes | Path

READ = (
    *(".wav", ".flac", ".ogg", ".mp3", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".snd"),
    *(".caf", ".w64", ".rf64"),
)
BLOCK = 1 << 16  # frames decoded at a time
LARGEST_FILE = 4 << 30  # bytes
MOST_VALUES = 1 << 30  # of one sound, decoded
RATES = (100, 1_000_000)  # samples per second
MOST_CHANNELS = 64
MEANINGS = {  # of what libsndfile says, where that is about itself
    "ormat not recogni": "not a sound",
    "not a regular file": "not a sound",
    "unimplemented format": "not a sound, or cut off",
    "SF_INFO": "its header makes no sense",
    "channels specified": "its header makes no sense",
    "psf_fseek": "it is damaged",
    "nspecified internal error": "it is damaged",
    "lost sync": "it is cut off or damaged",
    "chunk marker": "it is cut off or damaged",
}
CUT_OFF = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.M)  # of a WAV file's log
STREAMED = 0x7FFF0000  # bytes from which on a WAV header says that it does not know
FULL = 0.9997  # of full scale, from which on a sample counts as clipped: 32758 of 32768
SHORTEST = 16  # samples: below, there is nothing to hear


class SoundFault(Exception):
    """Why a sound cannot be used, in few words."""


class Header(NamedTuple):
    """What a file says of its sound.

    Attributes:
        rate: Samples per second.
        channels: Their number.
    """

    rate: int
    channels: int


class SoundStatistics(NamedTuple):
    """What is known of a decoded sound.

    Attributes:
        rate: Samples per second of the file.
        channels: Channels of the file.
        samples: The number of samples, as decoded and resampled.
        peak: The largest absolute value, of full scale.
        rms: The root mean square of all values, of full scale.
        clipped: The share of samples of the file at full scale.
    """

    rate: int
    channels: int
    samples: int
    peak: float
    rms: float
    clipped: float


def read_header(content: Content) -> Header:
    """Reads rate and channels of a sound.

    Raises:
        SoundFault: If it is no sound that can be read.
    """
    with _opened(content) as file:
        return Header(file.samplerate, file.channels)


def decode_sound(content: Content, rate: int, channels: int) -> tuple[np.ndarray, SoundStatistics]:
    """Decodes a sound to samples (T, channels), int16, at a rate.

    Arguments:
        content: The bytes or the path of a sound file.
        rate: Samples per second wanted.
        channels: 1 or 2.

    Raises:
        SoundFault: If it cannot be read, has no samples, or values that are not finite.
    """
    parts, peak, squares, clipped, values, made = [], 0.0, 0.0, 0, 0, 0
    with _opened(content) as file:
        header = Header(file.samplerate, file.channels)
        resample = _resampler(header.rate, rate, channels)
        for block in blocks_of(file):
            if not np.isfinite(block).all():
                raise SoundFault("it has values that are not finite")
            values += block.size
            clipped += int((np.abs(block) >= FULL).sum())
            parts.append(_to_int16(resample(mix(block, channels), False)))
            made += parts[-1].size
            if max(values, made) > MOST_VALUES:
                raise SoundFault(f"it has more than {MOST_VALUES} values: cut it in parts")
        parts.append(_to_int16(resample(np.zeros((0, channels), np.float32), True)))
    samples = np.concatenate(parts)
    if not len(samples):
        raise SoundFault("it has no samples")
    for start in range(0, len(samples), BLOCK):
        part = samples[start : start + BLOCK].astype(np.float32) / 32768
        peak, squares = max(peak, float(np.abs(part).max())), squares + float((part**2).sum())
    rms = float(np.sqrt(squares / samples.size))
    return samples, SoundStatistics(*header, len(samples), peak, rms, clipped / values)


def check_heard(known: SoundStatistics) -> None:
    """Raises `SoundFault` if there is nothing to learn: all samples are 0, or they are below 16."""
    if known.samples < SHORTEST:
        raise SoundFault(f"it has {known.samples} samples")
    if known.peak == 0.0:
        raise SoundFault("it is silent: all its samples are 0")


def mix(block: np.ndarray, channels: int) -> np.ndarray:
    """Mixes a block (frames, C) to another number of channels, 1 or 2."""
    if block.shape[1] == channels:
        return block
    if channels == 1 or block.shape[1] != 1:
        block = block.mean(axis=1, keepdims=True, dtype=np.float32)
    return np.repeat(block, channels, axis=1) if channels > 1 else block


def blocks_of(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Yields what is left of a file in blocks (frames, C), float32, till there is no more.

    Raises:
        SoundFault: If it is cut off, or damaged.
    """
    read = 0
    while True:
        try:
            block = file.read(BLOCK, dtype="float32", always_2d=True)
        except Exception as error:  # libsndfile's errors, and those of readers of bytes
            raise SoundFault(describe_read_error(error)) from error
        if not len(block):
            break
        read += len(block)
        yield block
    if file.frames < UNKNOWN and read < file.frames * (1 - SPARE):
        raise SoundFault(f"it is cut off: {read} of {file.frames} samples are there")


UNKNOWN = 1 << 40  # frames from which on a number says that it is not known
SPARE = 0.01  # of the frames that may be missing: what an mp3 announces is an estimate


def wav_bytes(values: np.ndarray, rate: int) -> bytes:
    """Returns the content of a WAV file with values (T,) or (T, C), integers or floats.

    It follows from the values and the rate alone; that of a library may have the time in it.
    """
    if values.dtype == np.uint8:
        values = (values.astype("<i2") - 128) * 256
    elif values.dtype.kind in "iu":
        # Tables keep 16-bit samples as integers of any width.
        wide = values.size > 0 and (values.max() > 32767 or values.min() < -32768)
        values = values.astype("<i4" if wide else "<i2")
    else:
        values = values.astype("<f4")
    channels, width = values.shape[1] if values.ndim > 1 else 1, values.dtype.itemsize
    kind = 3 if values.dtype.kind == "f" else 1
    content = np.ascontiguousarray(values).tobytes()
    form = struct.pack(
        "<HHIIHH", kind, channels, rate, rate * channels * width, channels * width, 8 * width
    )
    head = struct.pack("<4sI4s4sI", b"RIFF", 36 + len(content), b"WAVE", b"fmt ", len(form))
    return head + form + struct.pack("<4sI", b"data", len(content)) + content


def describe_read_error(error: Exception) -> str:
    """Describes in few words why a sound cannot be read."""
    if isinstance(error, SoundFault):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    words = first_line(error).rpartition(": ")[2].rstrip(". ")
    known = (told for part, told in MEANINGS.items() if part in words)
    return next(known, words or type(error).__name__)


@contextlib.contextmanager
def _opened(content: Content) -> Iterator[soundfile.SoundFile]:
    """Opens a sound, and checks what its header says."""
    if isinstance(content, Path):
        if not is_regular(content):
            raise SoundFault("not a file" if content.exists() else "there is no such file")
        if content.stat().st_size > LARGEST_FILE:
            raise SoundFault(f"it has more than {LARGEST_FILE >> 30} GiB")
        size = content.stat().st_size
    else:
        size = len(content)
    if not size:
        raise SoundFault("it is empty")
    try:
        # By an opened file, not by its name: libsndfile takes .raw for samples without a header.
        with _as_file(content) as source, soundfile.SoundFile(source) as file:
            if not RATES[0] <= file.samplerate <= RATES[1]:
                raise SoundFault(f"its header says {file.samplerate} samples per second")
            if not 1 <= file.channels <= MOST_CHANNELS:
                raise SoundFault(f"its header says {file.channels} channels")
            if (found := CUT_OFF.search(file.extra_info)) is not None:
                said, there = map(int, found.groups())
                if said < STREAMED and there < said * (1 - SPARE):
                    raise SoundFault(f"it is cut off: {there} of {said} bytes are there")
            yield file
    except SoundFault:
        raise
    except Exception as error:  # of libsndfile, which raises several kinds at a broken file
        raise SoundFault(describe_read_error(error)) from error


@contextlib.contextmanager
def _as_file(content: Content) -> Iterator[io.BufferedIOBase]:
    with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as file:
        yield file


def _resampler(given: int, rate: int, channels: int) -> Callable[[np.ndarray, bool], np.ndarray]:
    """Returns what resamples blocks (frames, channels) one after another."""
    if given == rate:
        return lambda block, last: block
    stream = soxr.ResampleStream(given, rate, channels, dtype="float32")

    def resample(block: np.ndarray, last: bool) -> np.ndarray:
        made = stream.resample_chunk(np.ascontiguousarray(block), last=last)
        return made.reshape(-1, channels)

    return resample


def _to_int16(block: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(block * 32768, -32768, 32767)).astype(np.int16)
