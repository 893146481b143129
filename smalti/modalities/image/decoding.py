"""Decodes sets of image files to pixels of one mode and size.

    file ──▶ upright ──▶ flat on white ──▶ grey or colour ──▶ crop and resize ──▶ (C, H, W) bytes

An image may be stored turned, with a note that says how (EXIF), may be transparent, may have a
palette, or more than 8 bits a channel; each becomes what a viewer shows on a white page. What is
black and white among numbers of more bits is in `pixel_range`, how one file is decoded safely in
`file_decoding`.

Of many files some are broken. They are named, counted and left out; more than 1 % of them is no
accident, but a mistake, unless they are three at most and no more than a tenth.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from smalti.data.allocation import allocate
from smalti.data.file_tree import is_regular
from smalti.data.left_out import report_left_out
from smalti.data.progress import progress
from smalti.data.rows import UndecodedExample
from smalti.data.splitting import SIZE, fingerprint
from smalti.data.threads import map_in_threads
from smalti.errors import InputError, first_line
from smalti.modalities.image.file_decoding import LARGEST, Content, Crop, decode_image, read_content
from smalti.modalities.image.pixel_range import (
    DARK,
    HALF,
    RECORD,
    ImageStatistics,
    Range,
    UnknownRange,
)
from smalti.modalities.image.pixels import to_float
from smalti.modalities.image.signal import Image as ImageSignal
from smalti.spelling import readable

__all__ = [
    "Crop",
    "DecodingLog",
    "decode_pictures",
    "decode_into",
    "decode_picture",
    "read_image",
    "describe_read_error",
    "report_unreadable",
]

logger = logging.getLogger(__name__)

CHUNK = 64  # pictures that a thread decodes at a time

T = TypeVar("T")


class DecodingLog:
    """Records of n pictures (name, fingerprint, fault, format), filled in while they are decoded.

    Threads may share it.

    Attributes:
        names: The name of each picture.
        fingerprints: (n, 16), uint8, a hash of the stored bytes of each; see
            `smalti.data.splitting`.
        faults: Why each picture could not be read; None if it could.
        records: Size, mode and bit depth of each picture, (n,) of dtype `RECORD`.
        modes: The names of Pillow's modes that numbers in `records` stand for.
        statistics: Counts of sizes, modes and bit depths over all pictures; several splits may
            share it.
    """

    def __init__(self, n: int, statistics: ImageStatistics | None = None) -> None:
        self.names = [""] * n
        self.fingerprints = np.zeros((n, SIZE), dtype=np.uint8)
        self.faults: list[str | None] = [None] * n
        self.statistics = ImageStatistics() if statistics is None else statistics
        self.records, self.modes = np.zeros(n, dtype=RECORD), list[str]()
        self._lock = threading.Lock()

    def record(self, row: int, one: ImageStatistics) -> None:
        """Records size, mode and bit depth of a picture, from statistics of this one alone."""
        with self._lock:
            self.records[row] = one.record(self.modes)

    def take(self, row: int, picture: UndecodedExample, content: bytes | np.ndarray) -> None:
        """Records the name of a picture and the fingerprint of its stored content."""
        self.names[row] = picture.name
        self.fingerprints[row] = np.frombuffer(fingerprint(content), dtype=np.uint8)


def read_image(
    path: str | Path,
    size: tuple[int, int] | None,
    channels: int,
    crop: Crop = "center",
    value_range: Range | None = None,
) -> Tensor:
    """Reads one image file as (C, H, W), float32 in [-1, 1].

    Arguments:
        path: Path of the file.
        size: (H, W) wanted; None for its own.
        channels: 3 for colour, 1 for grey.
        crop: How it is cropped and resized to that size, as in `Images`.
        value_range: The numbers for black and white, for images of more than 8 bits, as in
            `Images`.

    Raises:
        InputError: If it is missing or cannot be read, or its range is unknown.
    """
    path = Path(path)
    name = readable(path)
    if not is_regular(path):
        hint = "name the files in this folder" if path.is_dir() else "check the path"
        raise InputError(f"There is no image file {name}: {hint}.")
    return decode_picture(path, name, size, channels, crop, value_range)


def decode_picture(
    content: Content,
    name: str,
    size: tuple[int, int] | None,
    channels: int,
    crop: Crop = "center",
    value_range: Range | None = None,
) -> Tensor:
    """Decodes one image as (C, H, W), float32 in [-1, 1]; see `read_image`.

    Raises:
        InputError: If it cannot be read, or its range is unknown.
    """
    statistics = ImageStatistics()
    try:
        pixels = decode_image(content, size, channels, crop, statistics, value_range)
        statistics.check(DARK)
    except UnknownRange as error:
        raise UnknownRange(
            f"{name}: {error} It is that of the run's data; a file on its own can have 8 bits."
        ) from error
    except Exception as error:  # Pillow's readers raise nearly anything at a broken file
        raise InputError(
            f"{name} cannot be read as an image ({describe_read_error(error)}): replace it."
        ) from error
    if 0 < statistics.highest < HALF:
        logger.warning(
            "%s has 16 bits, of which 65535 is taken for white: its largest is %d.",
            name,
            statistics.highest,
        )
    return to_float(torch.tensor(pixels))


def decode_pictures(
    pictures: Iterable[UndecodedExample],
    n: int,
    size: tuple[int, int],
    channels: int,
    crop: Crop,
    log: DecodingLog | None = None,
    value_range: Range | None = None,
) -> tuple[Tensor, Tensor]:
    """Decodes n stored pictures to one array of pixels, in several threads.

    Arguments:
        pictures: The pictures as they are stored.
        n: The number of pictures.
        size: (H, W) wanted.
        channels: 3 for colour, 1 for grey.
        crop: How they are cropped and resized to that size, as in `Images`.
        log: Is filled with a record of each picture, if given.
        value_range: The numbers for black and white, for images of more than 8 bits.

    Returns:
        Pixels (n, C, H, W), uint8, and whether each could be read (n,), bool; others are black.

    Raises:
        UnknownRange: If the range of an image is neither known nor given.
        InputError: If too many cannot be read, more than 1 % and also more than three or a tenth,
            or there is no space for the pixels.
    """
    pixels = allocate((n, channels, *size), np.uint8, "The pixels", "choose a smaller size")
    alone, log = log is None, log or DecodingLog(n)
    decode_into(pixels, enumerate(pictures), n, channels, crop, log, value_range)
    return torch.from_numpy(pixels), report_unreadable(log, alone)


def decode_into(
    pixels: np.ndarray,
    pictures: Iterable[tuple[int, UndecodedExample]],
    n: int,
    channels: int,
    crop: Crop,
    log: DecodingLog,
    value_range: Range | None,
) -> None:
    """Decodes n numbered pictures into their rows of an array (N, C, H, W), and records them."""
    size = (pixels.shape[2], pixels.shape[3])

    def work(chunk: list[tuple[int, UndecodedExample]]) -> list[str | None]:
        """Returns what is wrong with each picture of a chunk, or None."""
        faults: list[str | None] = []
        for row, picture in chunk:
            statistics = ImageStatistics()
            try:
                content = picture.content
                if isinstance(content, Path):  # read once, to decode and to hash
                    content = read_content(content)
                log.take(row, picture, content)
                pixels[row] = decode_image(content, size, channels, crop, statistics, value_range)
                faults.append(None)
            except UnknownRange as error:  # a question to the user, and no fault of the picture
                raise UnknownRange(f"{picture.name} {error}") from error
            except Exception as error:  # Pillow's readers raise nearly anything at a broken file
                faults.append(f"{picture.name} ({describe_read_error(error)})")
                log.names[row], log.faults[row] = picture.name, describe_read_error(error)
            log.record(row, statistics)
        return faults

    found = itertools.chain.from_iterable(map_in_threads(work, _chunks(pictures)))
    for _ in progress(found, n, "decoding images"):
        pass


def report_unreadable(log: DecodingLog, alone: bool = False) -> Tensor:
    """Warns of the pictures of a log that could not be read, and returns which could.

    Arguments:
        log: The records of all pictures.
        alone: Whether the set has no other splits, so that its statistics are logged now.

    Returns:
        Whether each could be read (n,), bool.

    Raises:
        InputError: See `decode_pictures`.
    """
    log.statistics.add(log.records, log.modes)
    if alone:  # otherwise when all splits were seen
        log.statistics.check()
    named = zip(log.names, log.faults, strict=True)
    faults = [f"{name} ({fault})" for name, fault in named if fault is not None]
    report_left_out(faults, len(log.names), ImageSignal, "cannot be read", logger)
    return torch.tensor([fault is None for fault in log.faults])


def describe_read_error(error: Exception) -> str:
    """Describes in few words why an image cannot be read."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, Image.DecompressionBombError):
        return f"it claims more than {LARGEST} pixels"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return first_line(error)


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    items = iter(items)
    while chunk := list(itertools.islice(items, CHUNK)):
        yield chunk
