"""Allocates the array of all decoded examples, in memory or memory-mapped."""

from __future__ import annotations

import math
import os
import tempfile
from typing import Any

import numpy as np

from smalti.errors import InputError

__all__ = ["allocate"]

IN_MEMORY = 2 << 30  # bytes held in memory; more lie in a file that is mapped into it


def allocate(
    shape: tuple[int, ...], dtype: Any, what: str, mend: str, in_memory: int | None = None
) -> np.ndarray:
    """Allocates an array of zeros: in memory, or if it is large in a memory-mapped temporary file.

    Arguments:
        shape: Shape of the array.
        dtype: Type of its values.
        what: What the error message calls the values: "The vectors".
        mend: What the error message advises beside another folder: "choose a smaller size".
        in_memory: The largest number of bytes that is held in memory; 2 GiB if not given.

    Raises:
        InputError: If the disk is full.
    """
    n = math.prod(shape) * np.dtype(dtype).itemsize
    if n <= (IN_MEMORY if in_memory is None else in_memory):
        return np.zeros(shape, dtype=dtype)
    with tempfile.TemporaryFile(prefix="smalti-") as file:
        try:
            file.truncate(n)
            if hasattr(os, "posix_fallocate"):  # now, and not in the middle of the work
                os.posix_fallocate(file.fileno(), 0, n)
        except OSError as error:
            raise InputError(
                f"{what} take {n / 2**30:.1f} GiB, and {tempfile.gettempdir()} has no room "
                f"({error.strerror}): set TMPDIR to another folder, or {mend}."
            ) from error
        return np.memmap(file, dtype=dtype, mode="r+", shape=shape)
