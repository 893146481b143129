"""Reads files without blocking: a pipe or a device in the place of one is refused."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from smalti.counting import counted
from smalti.errors import InputError

__all__ = ["kind_of", "read_bytes", "check_regular_file", "sha256"]


def read_bytes(path: str | Path, most: int | None = None) -> bytes:
    """Reads the content of a file; refuses a pipe or a device, which could block.

    Arguments:
        path: Path of the file.
        most: The largest number of bytes that is accepted; None for any.

    Raises:
        InputError: If it is no file, or a larger one.
        OSError: If it cannot be read.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise InputError(
                f"{path} has {counted(size, 'byte')}, more than the {most} that such a file can "
                "have: give "
                f"the right file."
            )
        return file.read()


def check_regular_file(path: str | Path) -> None:
    """Checks that a path is a regular file, so that reading it cannot block.

    Raises:
        InputError: If it is a folder, a pipe, a device or a socket.
        OSError: If there is nothing.
    """
    _check_regular(path, Path(path).stat().st_mode)


def sha256(path: str | Path) -> str:
    """Computes the SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with _opened(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    """Opens an ordinary file; raises `InputError` for a pipe or a device, without waiting."""
    # Without O_NONBLOCK the opening of a pipe would wait for its other end.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _check_regular(path, os.fstat(handle).st_mode)
    except InputError:
        os.close(handle)
        raise
    with os.fdopen(handle, "rb") as file:
        yield file


def _check_regular(path: str | Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is {kind_of(mode)}, not a file: give a file.")


def kind_of(mode: int) -> str:
    """Describes in words what an `st_mode` stands for: "a folder", "a pipe"."""
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((kind for test, kind in kinds if test(mode)), "something else")
