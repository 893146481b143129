"""Reads and writes the arrays of .npz files, without trusting what is read.

No pickle is read, no array is made larger than the archive says it is, and what unpacks to far more
than it takes on the disk is refused by what it claims.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy

from smalti.counting import counted
from smalti.files import check_regular_file
from smalti.outputs import MARK

__all__ = ["DAMAGED", "check_unpacked_size", "list_names", "array_names", "read_npz", "write_npz"]

DAMAGED = (  # what numpy and zipfile raise at a file of another kind, or a broken one
    *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, NotImplementedError),
    *(RuntimeError, MemoryError, OverflowError, SyntaxError, BadZipFile, zlib.error),
)
MODEST = 1 << 30  # bytes that any file may unpack to
SHOWN, LONGEST = 8, 40  # names of a message, and characters of each
RATIO = 100  # beyond that, times its own size


def array_names(path: Path) -> list[str]:
    """Lists the names of the arrays in an .npz file.

    Raises:
        any of the exceptions in `DAMAGED`: If the file is damaged, or no .npz file.
    """
    with path.open("rb") as file, ZipFile(file) as archive:
        return [member.removesuffix(".npy") for member in archive.namelist()]


def list_names(names: Sequence[str]) -> str:
    """Lists names for a message: the first eight, none of them longer than 40 characters.

    Example:
        >>> list_names(["a", "b"]), list_names([])
        ('a, b', 'no arrays')
    """
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(name[:LONGEST] for name in names[:SHOWN]) or "no arrays") + more


def read_npz(path: Path, wanted: re.Pattern[str]) -> dict[str, np.ndarray]:
    """Reads the arrays of an .npz file whose names match `wanted`; ignores those of other names.

    Raises:
        any of the exceptions in `DAMAGED`: If the file is damaged, or no .npz file.
    """
    check_regular_file(path)
    with path.open("rb") as file, ZipFile(file) as archive:
        members = {
            member.filename.removesuffix(".npy"): member
            for member in archive.infolist()
            if wanted.fullmatch(member.filename.removesuffix(".npy"))
        }
        names = [member.removesuffix(".npy") for member in archive.namelist()]
        if twice := next((name for name in members if names.count(name) > 1), None):
            raise ValueError(f"it holds {twice} more than once")
        check_unpacked_size(path, sum(member.file_size for member in members.values()))
        arrays = {}
        for name, member in members.items():
            with archive.open(member) as content:
                arrays[name] = _read_npy(content, name, member.file_size)
        return arrays


def check_unpacked_size(path: Path, claimed: int) -> None:
    """Raises ValueError if a file claims to unpack to far more bytes than it has on disk."""
    if claimed > max(MODEST, RATIO * path.stat().st_size):
        raise ValueError(f"it would unpack to {claimed / 2**30:.1f} GiB")


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays, compressed and marked as smalti's (`smalti.outputs`).

    Not by numpy's `savez_compressed`, to which an array of the name "file" cannot be given.
    """
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, np.asanyarray(array), allow_pickle=False)
        archive.comment = MARK.encode()


def _read_npy(content: IO[bytes], name: str, size: int) -> np.ndarray:
    """Reads one array, if it is as large as its member of the archive."""
    version = npy.read_magic(content)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read_header(content)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, which are not read")
    claimed = math.prod(shape) * dtype.itemsize
    if claimed != size - content.tell():
        raise ValueError(
            f"{name} should have {counted(claimed, 'byte')}, got {size - content.tell()}"
        )
    flat = np.frombuffer(content.read(), dtype)
    if fortran:
        return flat.reshape(shape[::-1]).T
    return flat.reshape(shape)
