"""IDX: the file format of MNIST, for arrays of bytes.

    0, 0, 8 (unsigned bytes), the number of dimensions d
    d sizes of four bytes each, high byte first
    the values, the last dimension running fastest

Images and labels lie in two files of the same rows, e.g. `train-images-idx3-ubyte` and
`train-labels-idx1-ubyte`, and in `t10k-…` for the test set; each may be packed by gzip.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from smalti.counting import counted
from smalti.data.names import NameParser
from smalti.data.rows import Rows
from smalti.errors import InputError, first_line
from smalti.modalities.image.rows import ArrayRows
from smalti.modalities.image.signal import Image
from smalti.spelling import readable

__all__ = ["find_idx", "read_idx"]

NAME = re.compile(r"(?P<split>[a-z0-9]+)-(?P<what>images|labels)[-.]idx[13]-ubyte(\.gz)?")
UNSIGNED_BYTES = 8
LARGEST = 4 << 30  # values of a file
MOST_PACKED = 1040  # bytes that gzip makes one of, at most
PART = 1 << 20  # bytes that are unpacked at a time


class IdxSplit(NamedTuple):
    """A split that is stored in IDX files, as that of MNIST is.

    Attributes:
        rows: Its stored pictures, with their labels if it has some.
        files: The paths of the pictures' file and, if there is one, of the labels'.
    """

    rows: Rows
    files: tuple[Path, ...]


def find_idx(paths: Sequence[Path]) -> dict[str, IdxSplit]:
    """Finds the splits among files that are IDX files by their names; empty if there are none.

    Raises:
        InputError: If a file is broken, or images and labels do not belong together.
    """
    named_so = [path for path in paths if NAME.search(path.name.lower())]
    least = min((len(path.parts) for path in named_so), default=0)  # copies below do not matter
    files: dict[tuple[str, str], Path] = {}
    for path in sorted(named_so, reverse=True):  # so that of a pair the unpacked file stays
        match = NAME.search(path.name.lower())
        split = match and NameParser(Image.words).parse(match["split"]).split
        if match and split and len(path.parts) == least:
            key = split, match["what"]
            _refuse_two(files.get(key), path)
            files[key] = path
    if len({path.parent for path in files.values()}) > 1:
        _refuse_two(*list(files.values())[:2])
    found = {}
    for (split, what), path in sorted(files.items()):
        if what == "images":
            labels = files.get((split, "labels"))
            both = (path,) if labels is None else (path, labels)
            found[split] = IdxSplit(_rows(path, labels), both)
    return found


def read_idx(path: Path) -> np.ndarray:
    """Reads the array in an IDX file, uint8, of any number of dimensions.

    No more is unpacked than the file's head announces, and nothing if that cannot be.

    Raises:
        InputError: If the file is truncated, too large or of another format.
    """
    name = readable(path)
    try:
        with _stream(path) as stream:
            zeros, kind, dimensions = struct.unpack(">HBB", stream.read(4))
            if zeros or kind != UNSIGNED_BYTES or not dimensions:
                raise InputError(
                    f"{name} is not an IDX file of unsigned bytes: rename it, or copy it again."
                )
            sizes = struct.unpack(f">{dimensions}I", stream.read(4 * dimensions))
            return _values(stream, sizes, path)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        reason = first_line(error)
        raise InputError(f"{name} is truncated or broken ({reason}): copy it again.") from error


def _stream(path: Path) -> io.BufferedIOBase:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def _values(stream: io.BufferedIOBase, sizes: tuple[int, ...], path: Path) -> np.ndarray:
    """Reads the bytes of an array of these sizes; raises `InputError` if they are not all there."""
    n, stored = math.prod(sizes), path.stat().st_size
    if n > LARGEST or len(sizes) > 32:
        raise InputError(
            f"{readable(path)} announces {counted(n, 'value')} in "
            f"{counted(len(sizes), 'dimension')}, more than "
            f"{LARGEST}: divide it into several, or store images as files."
        )
    if n > stored * MOST_PACKED:
        raise InputError(
            f"{readable(path)} is truncated or broken: {n} values are announced, more than "
            f"{stored} bytes can hold. Copy it again."
        )
    values = np.empty(n, dtype=np.uint8)
    got, rest = 0, memoryview(values.data)
    while got < n and (more := stream.readinto(rest[got : got + PART])):
        got += more
    left_over = len(stream.read(PART)) if got == n else 0
    if got < n or left_over:
        raise InputError(
            f"{readable(path)} is truncated or broken: {n} values are announced, got "
            f"{got + left_over}{' or more' if left_over == PART else ''}. Copy it again."
        )
    return values.reshape(sizes)


def _rows(images_file: Path, labels_file: Path | None) -> Rows:
    """Reads images and labels; raises `InputError` if they are not as many."""
    images = read_idx(images_file)
    labels = None if labels_file is None else read_idx(labels_file)
    if images.ndim != 3:
        raise InputError(
            f"{readable(images_file)} holds an array of {counted(images.ndim, 'dimension')}: "
            "images have 3, "
            f"(N, H, W)."
        )
    if labels_file is not None and labels is not None and labels.shape != images.shape[:1]:
        raise InputError(
            f"{images_file.name} has {counted(len(images), 'image')}, but {labels_file.name} has "
            f"{counted(len(labels), 'label')}: copy both files again."
        )
    return ArrayRows(images, labels, readable(images_file))


def _refuse_two(old: Path | None, new: Path) -> None:
    if old is not None and str(old).removesuffix(".gz") != str(new).removesuffix(".gz"):
        raise InputError(
            f"{readable(new.parent)} holds more than one data set, e.g. {new.name} and {old.name}: "
            f"move each to a folder of its own."
        )
