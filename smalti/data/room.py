"""Room for the values of all examples: in memory, or in a file that is mapped into it."""

from __future__ import annotations

import math
import os
import tempfile
from typing import Any

import numpy as np

from smalti.errors import InputError

__all__ = ["room"]

IN_MEMORY = 2 << 30  # bytes held in memory; more lie in a file that is mapped into it


def room(
    shape: tuple[int, ...], dtype: Any, what: str, mend: str, in_memory: int | None = None
) -> np.ndarray:
    """Allocates an array of zeros: in memory, or if it is large in a temporary file mapped into it.

    Arguments:
        shape: Shape of the array.
        dtype: Type of its values.
        what: What they are, as the subject of a sentence: "The values".
        mend: What to do where there is no room, beside another folder: "choose a smaller size".
        in_memory: Bytes that are held in memory; 2 GiB if not given.

    Raises:
        InputError: If the disk has no room.
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
