"""The range of pixel values: which numbers stand for black and white in an image.

    8 bits a channel, palettes, 1 bit      0 … 255 of the format, as a viewer shows them
    16-bit integers                        0 … 65535, if any of them is above 32767
    packed 12-bit integers (TIFF)          0 … 4095
    PGM, PPM, JPEG 2000                    0 … the largest value that their header names
    floats                                 0 … 1, if none lies outside
    everything else                        not known: `Images(range=(black, white))` says it

Integers of 12 bits are often stored in 16 and floats may mean anything, so where the numbers do not
fit the format's own range they are not guessed at, but asked for. With a range given, it holds for
all numbers of more than 8 bits. NaN, infinities and numbers outside a range that was given make an
image unreadable.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from smalti.errors import InputError

__all__ = [
    "RECORD",
    "Range",
    "ImageStatistics",
    "UnknownRange",
    "to_bytes",
    "check_range",
    "stored_numbers",
]

Range = tuple[float, float]
"""What is black and what is white."""

RECORD = np.dtype(
    [("width", "i4"), ("height", "i4"), ("mode", "u2"), ("animated", "?"), ("deep", "?")]
    + [("highest", "i8"), ("in_range", "?")]
)
HALF = 32_768  # 16-bit integers that are all below may have fewer bits
DARK = 4_096  # of a single image, these certainly have
COMMON: tuple[Range, ...] = (
    *((0, 1), (-1, 1), (0, 255), (-128, 127), (0, 1023), (0, 4095), (0, 16_383), (0, 65_535)),
    *((-32_768, 32_767), (0, 2**32 - 1), (-(2**31), 2**31 - 1)),
)
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
SIGNED = 2


class UnknownRange(InputError):
    """The error for an image whose numbers for black and white are not known."""


class ImageStatistics:
    """Counts of sizes, modes and bit depths over the images of a set. Threads may share it.

    Attributes:
        sizes: The number of images of each width and height.
        modes: The number of images of each of Pillow's modes.
        animated: The number of images with several frames, of which the first is used.
        deep: The number of images of 16-bit integers, in the format's own range.
        highest: The largest of these integers.
        in_range: The number of images that were read in the range given by the user.
    """

    def __init__(self) -> None:
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.modes: Counter[str] = Counter()
        self.animated = self.deep = self.highest = self.in_range = 0
        self._lock = threading.Lock()

    def note_image(self, size: tuple[int, int], mode: str, animated: bool) -> None:
        """Counts one image."""
        with self._lock:
            self.sizes[size] += 1
            self.modes[mode] += 1
            self.animated += animated

    def note_highest(self, high: int | None) -> None:
        """Records the largest 16-bit integer of an image; None if a range was given for it."""
        with self._lock:
            if high is None:
                self.in_range += 1
            else:
                self.deep += 1
                self.highest = max(self.highest, high)

    def record(self, modes: list[str]) -> tuple[int, int, int, bool, bool, int, bool]:
        """Returns what was counted of a single image, a row of `RECORD`; its mode is put in a list.

        Where nothing was counted, width and height are 0.
        """
        (size, mode) = next(zip(self.sizes, self.modes, strict=True), ((0, 0), ""))
        if mode not in modes:
            modes.append(mode)
        numbers = bool(self.deep), self.highest, bool(self.in_range)
        return (*size, modes.index(mode), bool(self.animated), *numbers)

    def add(self, records: np.ndarray, modes: Sequence[str]) -> None:
        """Counts images of which there are records (N,) of `RECORD`, with these modes."""
        counted = records[records["width"] > 0]
        with self._lock:
            for (width, height, mode), n in Counter(
                zip(*(counted[name].tolist() for name in RECORD.names[:3]), strict=True)  # type: ignore[index]
            ).items():
                self.sizes[width, height] += n
                self.modes[modes[mode]] += n
            self.animated += int(records["animated"].sum())
            self.deep += int(records["deep"].sum())
            self.highest = max(self.highest, int(records["highest"].max(initial=0)))
            self.in_range += int(records["in_range"].sum())

    def check(self, below: int = HALF) -> None:
        """Raises `UnknownRange` if 16-bit integers may have fewer bits: all are `below`."""
        if self.deep and 0 < self.highest < below:
            raise UnknownRange(
                f"16-bit images whose numbers all lie between 0 and {self.highest} may have "
                f"fewer bits, and nothing says which number is white: {_remedy(0, self.highest)}, "
                f"or '[0, 65535]' if they are as dark as that."
            )

    def line(self, value_range: Range | None = None) -> str:
        """Returns one line of sizes, modes and frames, and whether the given range is used."""
        widths, heights = zip(*self.sizes, strict=True) if self.sizes else ((0,), (0,))
        sizes = f"{min(widths)}×{min(heights)}"
        if len(self.sizes) > 1:
            sizes += f" to {max(widths)}×{max(heights)}"
        modes = ", ".join(f"{n} {mode}" for mode, n in self.modes.most_common())
        frames = f"; {self.animated} with several frames, of which the first is taken"
        unused = "; the range given is not used, all formats have their own"
        line = f"images of {sizes} px: {modes}{frames * bool(self.animated)}"
        return line + unused * (value_range is not None and not self.in_range)


class StoredNumbers(NamedTuple):
    """Type and range of an image's pixel values, if they have more than 8 bits or a sign.

    Attributes:
        what: Their type in words: "16-bit integers".
        range: (black, white) of the file format; None where the format has none.
        settled: Whether Pillow scaled them to that range already.
        view: The dtype that they really have, if Pillow returns another.
        inverted: Whether the lowest value is white.
    """

    what: str
    range: Range | None
    settled: bool = False
    view: str | None = None
    inverted: bool = False


def check_range(value_range: Range | None) -> None:
    """Raises `InputError` unless a range is None, or two finite numbers, black below white."""
    if value_range is None:
        return
    black, white = value_range
    if not np.isfinite([black, white]).all() or black >= white:
        raise InputError(
            f"A range is what is black and what is white, the smaller number first, got "
            f"[{black}, {white}]: give e.g. [0, 4095]."
        )


def stored_numbers(image: Image.Image) -> StoredNumbers | None:
    """Returns the type and range of an image's pixel values; None for plain unsigned 8 bits."""
    tags = getattr(image, "tag_v2", {})
    bits, signed = _first(tags.get(BITS_PER_SAMPLE)), _first(tags.get(SAMPLE_FORMAT)) == SIGNED
    inverted = tags.get(PHOTOMETRIC) == 0
    if image.mode == "L" and signed:
        return StoredNumbers("signed 8-bit integers", None, view="i1", inverted=inverted)
    if image.mode == "F":
        return StoredNumbers("floats", (0, 1), inverted=inverted)
    if image.format in ("PPM", "JPEG2000") and image.mode[0] == "I":
        return StoredNumbers("16-bit integers", (0, 65_535), settled=True)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        if bits is not None and 8 < bits < 16:
            return StoredNumbers(f"{bits}-bit integers", (0, 2**bits - 1), inverted=inverted)
        return StoredNumbers("16-bit integers", (0, 65_535), inverted=inverted)
    if image.mode == "I" and bits == 32 and not signed:
        return StoredNumbers("32-bit integers", None, view="u4", inverted=inverted)
    if image.mode == "I":
        return StoredNumbers(f"signed {bits or 32}-bit integers", None, inverted=inverted)
    return None


def to_bytes(
    image: Image.Image, stored: StoredNumbers, value_range: Range | None
) -> tuple[np.ndarray, float]:
    """Scales the numbers of an image (H, W) to bytes, 0 for black and 255 for white.

    Arguments:
        image: An image of one channel.
        stored: Type and range of its values.
        value_range: The range that the user gave, if any.

    Returns:
        Bytes (H, W) and the largest number.

    Raises:
        UnknownRange: If no range was given and the format has none, or it does not fit.
        ValueError: If there are NaN or infinities, or numbers outside the range that was given.
    """
    numbers = np.asarray(image)
    if stored.view is not None:
        numbers = numbers.view(stored.view)
    low, high = float(numbers.min()), float(numbers.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("it has pixels that are NaN or infinite")
    wanted = stored.range if value_range is None or stored.settled else value_range
    if wanted is None or (value_range is None and not wanted[0] <= low <= high <= wanted[1]):
        raise UnknownRange(
            f"holds {stored.what} from {low:g} to {high:g}, and nothing says which number is black "
            f"and which is white: {_remedy(low, high)}."
        )
    black, white = wanted
    if not black <= low <= high <= white:
        raise ValueError(f"its numbers go from {low:g} to {high:g}, not {black:g} to {white:g}")
    if stored.inverted:
        black, white = white, black
    exact = "f4" if abs(black) + abs(white) < 1 << 23 else "f8"  # of which integers lose nothing
    scaled = (numbers.astype(exact) - black) * (255 / (white - black))
    transparent = image.info.get("transparency")
    result = scaled.round().clip(0, 255).astype(np.uint8)
    if isinstance(transparent, int) and image.mode.startswith("I"):
        result[numbers == transparent] = 255
    return result, high


def _remedy(low: float, high: float) -> str:
    fitting = [pair for pair in COMMON if pair[0] <= low and high <= pair[1]]
    black, white = fitting[0] if fitting else (np.floor(low), np.ceil(high))
    return f"give the range, e.g. --data.range '[{black:.12g}, {white:.12g}]'"


def _first(value: object) -> int | None:
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else None
