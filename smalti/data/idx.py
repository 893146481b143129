"""IDX: the file format of MNIST, for arrays of bytes.

    0, 0, 8 (unsigned bytes), the number of dimensions d
    d sizes of four bytes each, high byte first
    the values, the last dimension running fastest

Images and labels lie in two files of the same rows, e.g. `train-images-idx3-ubyte` and
`train-labels-idx1-ubyte`, and in `t10k-…` for the test set; each may be packed by gzip.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from smalti.data.names import readable
from smalti.data.rows import ArrayRows, Rows
from smalti.data.words import named
from smalti.errors import InputError

__all__ = ["find_idx", "read_idx"]

NAME = re.compile(r"(?P<split>[a-z0-9]+)-(?P<what>images|labels)[-.]idx[13]-ubyte(\.gz)?")
UNSIGNED_BYTES = 8


class IdxSplit(NamedTuple):
    """A split that lies in IDX files."""

    rows: Rows
    files: tuple[Path, ...]


def find_idx(paths: Sequence[Path]) -> dict[str, IdxSplit]:
    """The splits among files that are IDX files by their names; empty where there are none.

    Raises:
        InputError: If a file is broken, or images and labels do not belong together.
    """
    named_so = [path for path in paths if NAME.search(path.name.lower())]
    least = min((len(path.parts) for path in named_so), default=0)  # copies below do not matter
    files: dict[tuple[str, str], Path] = {}
    for path in sorted(named_so, reverse=True):  # so that of a pair the unpacked file stays
        match = NAME.search(path.name.lower())
        split = match and named(match["split"]).split
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
    """Reads an array, uint8, of any number of dimensions.

    Raises:
        InputError: If the file is truncated or of another format.
    """
    try:
        content = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
        zeros, kind, dimensions = struct.unpack_from(">HBB", content)
        sizes = struct.unpack_from(f">{dimensions}I", content, offset=4)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise InputError(f"{path} is truncated or broken ({error}): copy it again.") from error
    if zeros or kind != UNSIGNED_BYTES or not dimensions:
        raise InputError(
            f"{path} is not an IDX file of unsigned bytes: name or replace it rightly."
        )
    start, n = 4 + 4 * dimensions, math.prod(sizes)
    if len(content) != start + n:
        raise InputError(
            f"{path} is truncated or broken: {n} values are announced, got {len(content) - start}. "
            f"Copy it again."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(sizes)


def _rows(images_file: Path, labels_file: Path | None) -> Rows:
    images = read_idx(images_file)
    labels = None if labels_file is None else read_idx(labels_file)
    if images.ndim != 3:
        raise InputError(
            f"{images_file} holds an array of {images.ndim} dimensions: images have 3, (N, H, W)."
        )
    if labels is not None and labels.shape != images.shape[:1]:
        raise InputError(
            f"{images_file.name} has {len(images)} images, but {labels_file} has "
            f"{len(labels)} labels: copy both files again."
        )
    return ArrayRows(images, labels, str(images_file))


def _refuse_two(old: Path | None, new: Path) -> None:
    if old is not None and str(old).removesuffix(".gz") != str(new).removesuffix(".gz"):
        raise InputError(
            f"{readable(new.parent)} holds more than one data set, e.g. {new.name} and {old.name}: "
            f"move each to a folder of its own."
        )
