"""Decoding: from the bytes of an image file to pixels of one mode and size.

    file ──▶ upright ──▶ flat on white ──▶ grey or colour ──▶ crop and resize ──▶ (C, H, W) bytes

An image may be stored turned, with a note that says how (EXIF), may be transparent, may have a
palette, or 16 bits a channel; each becomes what a viewer shows on a white page. Cropping takes the
largest part in the middle that has the proportions asked for.

Of a large set some files are broken. They are named, counted and left out; more than 1 % of them is
no accident, but a mistake.
"""

from __future__ import annotations

import io
import itertools
import logging
import math
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from smalti.data.pixels import to_float
from smalti.data.progress import progress
from smalti.data.splitting import SIZE, fingerprint
from smalti.errors import InputError, first_line

__all__ = ["Crop", "Notes", "Picture", "decode", "read_image"]

logger = logging.getLogger(__name__)

Crop = Literal["center", "random", "none"]

IN_MEMORY = 2 << 30  # bytes of pixels held in memory; more lie in a file that is mapped into it
CHUNK = 64  # pictures that a thread decodes at a time
TOLERATED = 0.01  # share of pictures that may be unreadable
NAMED = 3  # unreadable pictures that an error names

T = TypeVar("T")
R = TypeVar("R")


class Picture(NamedTuple):
    """An image as it is stored."""

    name: str
    """What to call it in a message: its path, or its row in a table."""

    content: bytes | Path | np.ndarray
    """The bytes or the path of an image file, or pixels (H, W) or (H, W, 3), uint8."""


class Notes:
    """What a decoding notes of n pictures beside their pixels.

    Attributes:
        names: What each is called.
        fingerprints: Of what is stored of each, (n, 16), uint8; see `smalti.data.splitting`.
        faults: Why each could not be read, or None.
    """

    def __init__(self, n: int) -> None:
        self.names = [""] * n
        self.fingerprints = np.zeros((n, SIZE), dtype=np.uint8)
        self.faults: list[str | None] = [None] * n

    def take(self, row: int, picture: Picture, content: bytes | np.ndarray) -> None:
        """Notes what a picture is called and what is stored of it."""
        self.names[row] = picture.name
        self.fingerprints[row] = np.frombuffer(fingerprint(content), dtype=np.uint8)


def read_image(
    path: str | Path, size: tuple[int, int] | None, channels: int, crop: Crop = "center"
) -> Tensor:
    """Reads one image file as (C, H, W), float32 in [-1, 1].

    Arguments:
        path: Of the file.
        size: (H, W) wanted; None for its own.
        channels: 3 for colour, 1 for grey.
        crop: How it is brought to that size, as in `smalti.data.Images`.

    Raises:
        InputError: If it is not there or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no image file {path}: check the path.")
    try:
        pixels = _pixels(path, size, channels, crop)
    except Exception as error:  # Pillow's readers raise nearly anything at a broken file
        raise InputError(
            f"{path} cannot be read as an image ({_reason(error)}): replace it."
        ) from error
    return to_float(torch.tensor(pixels))


def decode(
    pictures: Iterable[Picture],
    n: int,
    size: tuple[int, int],
    channels: int,
    crop: Crop,
    notes: Notes | None = None,
) -> tuple[Tensor, Tensor]:
    """Decodes n pictures.

    Arguments:
        pictures: As they are stored.
        n: How many.
        size: (H, W) wanted.
        channels: 3 for colour, 1 for grey.
        crop: How they are brought to that size, as in `smalti.data.Images`.
        notes: Takes down their names and fingerprints, where it is given.

    Returns:
        Pixels (n, C, H, W), uint8, and whether each could be read (n,), bool; others are black.

    Raises:
        InputError: If more than 1 % cannot be read, or there is no room for the pixels.
    """
    pixels = _room((n, channels, *size))

    def work(chunk: list[tuple[int, Picture]]) -> list[str | None]:
        """What is wrong with each picture of a chunk, or None."""
        faults: list[str | None] = []
        for row, picture in chunk:
            try:
                content = picture.content
                if isinstance(content, Path):  # read once, to decode and to hash
                    content = content.read_bytes()
                if notes is not None:
                    notes.take(row, picture, content)
                pixels[row] = _pixels(content, size, channels, crop)
                faults.append(None)
            except Exception as error:  # Pillow's readers raise nearly anything at a broken file
                faults.append(f"{picture.name} ({_reason(error)})")
                if notes is not None:
                    notes.names[row], notes.faults[row] = picture.name, _reason(error)
        return faults

    found = itertools.chain.from_iterable(_in_threads(work, _chunks(enumerate(pictures))))
    faults = list(progress(found, n, "decoding images"))
    _report([fault for fault in faults if fault], n)
    return torch.from_numpy(pixels), torch.tensor([fault is None for fault in faults])


def _pixels(
    content: bytes | Path | np.ndarray, size: tuple[int, int] | None, channels: int, crop: Crop
) -> np.ndarray:
    """(C, H, W), uint8."""
    mode = "L" if channels == 1 else "RGB"
    with _open(content) as image:
        if size and image.format == "JPEG":  # decode a large photo at a fraction of its size
            image.draft(mode, (2 * max(size), 2 * max(size)))
        ImageOps.exif_transpose(image, in_place=True)
        image = _flat(image).convert(mode)

    if size and image.size != (size[1], size[0]):
        image = _resized(image, size, crop)
    return rearrange(np.atleast_3d(np.asarray(image)), "h w c -> c h w")


def _open(content: bytes | Path | np.ndarray) -> Image.Image:
    if isinstance(content, np.ndarray):
        return Image.fromarray(content)
    return Image.open(io.BytesIO(content) if isinstance(content, bytes) else content)


def _flat(image: Image.Image) -> Image.Image:
    """8 bits a channel, and no transparency."""
    if image.mode[0] in "IF":
        values = np.asarray(image, dtype=np.float32)
        full = 65_535 if image.mode[0] == "I" else 1 if values.max() <= 1 else 255
        return Image.fromarray((255 / full * values).round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        page = Image.new("RGBA", image.size, "white")
        page.alpha_composite(image.convert("RGBA"))
        return page
    return image


def _resized(image: Image.Image, size: tuple[int, int], crop: Crop) -> Image.Image:
    width_height = size[1], size[0]
    if crop == "none":
        return image.resize(width_height, Image.Resampling.BICUBIC)
    return ImageOps.fit(image, width_height, Image.Resampling.BICUBIC)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return first_line(error)


def _report(faults: list[str], n: int) -> None:
    if len(faults) > TOLERATED * n:
        named = ", ".join(faults[:NAMED]) + ", …" * (len(faults) > NAMED)
        raise InputError(
            f"{len(faults)} of {n} images cannot be read, more than {TOLERATED:.0%}: {named}. "
            f"Repair or remove them."
        )
    for fault in faults:
        logger.warning("Left out an image that cannot be read: %s", fault)
    if faults:
        logger.warning("Left out %d of %d images.", len(faults), n)


def _room(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros, in memory, or in a nameless file that is gone when nobody needs it any more."""
    n = math.prod(shape)
    if n <= IN_MEMORY:
        return np.zeros(shape, dtype=np.uint8)
    with tempfile.TemporaryFile(prefix="smalti-") as file:
        try:
            file.truncate(n)
            if hasattr(os, "posix_fallocate"):  # now, and not in the middle of the work
                os.posix_fallocate(file.fileno(), 0, n)
        except OSError as error:
            raise InputError(
                f"The pixels take {n / 2**30:.1f} GiB, and {tempfile.gettempdir()} has no room "
                f"({error.strerror}): set TMPDIR to another folder, or choose a smaller size."
            ) from error
        return np.memmap(file, dtype=np.uint8, mode="r+", shape=shape)


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    items = iter(items)
    while chunk := list(itertools.islice(items, CHUNK)):
        yield chunk


def _in_threads(work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
    """The results in order, with few tasks taken ahead, so that not all of a set is in memory."""
    workers = os.cpu_count() or 1
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for task in tasks:
            waiting.append(pool.submit(work, task))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
