"""Decodes one image of any format: rotated upright, on white, in grey or colour, at a size.

No image is trusted: one that claims more than 2²⁸ pixels is refused before
any of them is decoded, and threads share a budget of memory, so that a large one is decoded alone.
Of large ones, the whole is never copied: they are brought to grey or colour, and to a fraction of
their size that is at least twice the one wanted, band by band.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from einops import rearrange
from PIL import Image, ImageCms, ImageOps

from smalti.data.file_tree import is_regular
from smalti.modalities.image.pixel_range import (
    ImageStatistics,
    Range,
    UnknownRange,
    stored_numbers,
    to_bytes,
)

__all__ = ["Content", "Crop", "read_content", "open_image", "decode_image"]

Content = bytes | Path | np.ndarray | Image.Image
Crop = Literal["center", "random", "none"]

LARGEST = 1 << 28  # pixels of an image: 16,384 × 16,384
LARGEST_FILE = 2 << 30  # bytes
AT_ONCE = 1 << 30  # bytes that images take together while they are decoded
LARGE = 1 << 24  # pixels from which on an image is converted in bands
BAND = 1 << 21  # pixels of a band
COPIES = {"WEBP": 2, "AVIF": 2, "JPEG2000": 4, "GIF": 2}  # that a format's reader makes
ORIENTATION = 0x0112
TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
STRAIGHT = (None, TURNED[2], TURNED[3], TURNED[4])  # that keep width and height


def read_content(path: Path) -> bytes:
    """Reads the bytes of an image file, without decoding it.

    Raises:
        ValueError: If it is no ordinary file, or too large for an image.
        OSError: If it cannot be read.
    """
    if not is_regular(path):
        raise ValueError("not a file" if path.exists() else "there is no such file")
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"it has more than {LARGEST_FILE >> 30} GiB")
    return path.read_bytes()


def decode_image(
    content: Content,
    size: tuple[int, int] | None,
    channels: int,
    crop: Crop,
    statistics: ImageStatistics,
    value_range: Range | None = None,
) -> np.ndarray:
    """Decodes one image to pixels (C, H, W), uint8.

    Arguments:
        content: The bytes or the path of an image file, or pixels (H, W) or (H, W, 3), uint8.
        size: (H, W) wanted; None for its own.
        channels: 3 for colour, 1 for grey.
        crop: How it is cropped and resized to that size.
        statistics: Is updated with the size, mode and bit depth of the image.
        value_range: The numbers for black and white, for images of more than 8 bits.

    Raises:
        UnknownRange: If the range of its numbers is neither known nor given.
        Exception: Nearly any other, if the image is broken.
    """
    mode = "L" if channels == 1 else "RGB"
    with open_image(content) as image:
        claimed, kind = image.size, image.mode
        if size and image.format == "JPEG":  # decode a large photo at a fraction of its size
            image.draft(mode, (2 * max(size), 2 * max(size)))
        with _memory.taken(_cost(image, claimed)):
            flat = _upright_and_flat(image, mode, size, statistics, value_range)
        statistics.note_image(claimed, kind, _is_animated(image))

    if size and flat.size != (size[1], size[0]):
        flat = _resized(flat, size, crop)
    return rearrange(np.atleast_3d(np.asarray(flat)), "h w c -> c h w")


@contextlib.contextmanager
def open_image(content: Content) -> Iterator[Image.Image]:
    """Opens an image and reads its header only.

    Raises:
        Image.DecompressionBombError: If it claims to be too large.
        Exception: Of nearly any class, if it is not an image that Pillow can open.
    """
    if isinstance(content, np.ndarray):
        yield Image.fromarray(content)
        return
    if isinstance(content, Image.Image):
        yield content.copy()  # which the caller may change, and close
        return
    stored = read_content(content) if isinstance(content, Path) else content
    with _own_limit(), Image.open(io.BytesIO(stored)) as image:
        yield image


def _upright_and_flat(
    image: Image.Image,
    mode: str,
    size: tuple[int, int] | None,
    statistics: ImageStatistics,
    value_range: Range | None,
) -> Image.Image:
    """Returns the image in `mode`, whole or reduced to at least twice the size wanted."""
    deep_colour = image.mode[0] not in "IF" and any(";16" in str(tile) for tile in _tiles(image))
    image.load()
    turn = TURNED.get(image.getexif().get(ORIENTATION, 1))
    stored = stored_numbers(image)
    if deep_colour:
        _note_colour(image, statistics, value_range)
    (width, height), highest = image.size, 0.0
    factor, rows = 1, height
    if width * height > LARGE:
        if size:
            across, down = (size[1], size[0]) if turn in STRAIGHT else size
            factor = max(1, min(width // (2 * across), height // (2 * down)))
        rows = max(1, BAND // width // factor) * factor
    parts: list[Image.Image] = []
    for top in range(0, height, rows):
        whole = rows >= height
        band = image if whole else image.crop((0, top, width, min(top + rows, height)))
        if stored is not None:
            pixels, high = to_bytes(band, stored, value_range)
            band, highest = Image.fromarray(pixels), max(highest, high)
        band = _flat(band).convert(mode)
        parts.append(band.reduce(factor) if factor > 1 else band)
    if stored is not None and not stored.settled:
        _note_numbers(stored.range == (0, 65_535), highest, statistics, value_range)
    together = parts[0] if len(parts) == 1 else _stacked(parts)
    return together if turn is None else together.transpose(turn)


def _stacked(parts: list[Image.Image]) -> Image.Image:
    """Joins bands, one below the other."""
    height = sum(part.height for part in parts)
    together, top = Image.new(parts[0].mode, (parts[0].width, height)), 0
    for part in parts:
        together.paste(part, (0, top))
        top += part.height
    return together


def _note_numbers(
    sixteen: bool, highest: float, statistics: ImageStatistics, value_range: Range | None
) -> None:
    if value_range is not None:
        statistics.note_highest(None)
    elif sixteen:
        statistics.note_highest(int(highest))


def _note_colour(
    image: Image.Image, statistics: ImageStatistics, value_range: Range | None
) -> None:
    """Records 16-bit colours, of which Pillow gives the upper 8 bits."""
    if value_range not in (None, (0, 65_535)):
        raise UnknownRange(
            f"has colours of 16 bits, which are read as 0 to 65535 alone, got the range "
            f"[{value_range[0]:g}, {value_range[1]:g}]: convert it to 8 bits a channel."
        )
    colours = image.getbands()[: 1 if image.mode == "LA" else 3]
    highest = max(np.asarray(image.getchannel(colour)).max() for colour in colours)
    _note_numbers(True, 257 * int(highest), statistics, value_range)


def _flat(image: Image.Image) -> Image.Image:
    """Removes transparency, and returns a mode that Pillow converts."""
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
        assert converted is not None  # as where it works in place
        return converted
    if image.mode == "La":
        image = image.convert("LA")
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


def _tiles(image: Image.Image) -> list:
    return getattr(image, "tile", [])


def _is_animated(image: Image.Image) -> bool:
    """Returns whether there are more frames; other pictures in a photo (MPO) do not count."""
    if image.format == "MPO":
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # of a broken second frame
        return True


# Memory


class _Memory:
    """Bytes that threads share: one that asks for more than there are gets all, alone."""

    def __init__(self) -> None:
        self._used = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, cost: int) -> Iterator[None]:
        """Waits till the memory that a picture takes is free, and holds it meanwhile."""
        cost = min(cost, AT_ONCE)
        with self._changed:
            self._changed.wait_for(lambda: self._used + cost <= AT_ONCE)
            self._used += cost
        try:
            yield
        finally:
            with self._changed:
                self._used -= cost
                self._changed.notify_all()


_memory = _Memory()


def _cost(image: Image.Image, claimed: tuple[int, int]) -> int:
    """Estimates the bytes that decoding takes."""
    pixels = image.size[0] * image.size[1]
    one = 1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4
    if pixels <= LARGE:
        one = 12  # what is converted whole has copies
    cost = pixels * one * COPIES.get(str(image.format), 1)
    if image.info.get("progressive"):  # of which all coefficients are held
        cost += 6 * claimed[0] * claimed[1]
    return cost


class _Limit(int):
    """A limit that is not doubled: Pillow refuses at once what it would else only warn of."""

    def __rmul__(self, factor: int) -> int:
        return int(self)


_limits: list[int | None] = []
_limit_lock = threading.Lock()


@contextlib.contextmanager
def _own_limit() -> Iterator[None]:
    """Has Pillow refuse what we do, and not warn of what it would; as before when all are done."""
    with _limit_lock:
        _limits.append(Image.MAX_IMAGE_PIXELS)
        Image.MAX_IMAGE_PIXELS = _Limit(LARGEST)
    try:
        yield
    finally:
        with _limit_lock:
            first = _limits[0]
            _limits.pop()
            if not _limits:
                Image.MAX_IMAGE_PIXELS = first
