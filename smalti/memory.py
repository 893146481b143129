"""Checks the memory and disk of this machine before anything large is made.

A process that takes more than there is, is killed without a word, or makes the machine stand still.
What can only end so is refused; what may fit is tried.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import sys
from pathlib import Path

from smalti.errors import InputError

__all__ = ["check_disk", "check_memory", "format_bytes", "give_back", "available_memory"]

GROUPS = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Returns the memory in bytes that a process can have: of the machine, or of its container."""
    limits = [2**63]
    try:
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # not on this system
        pass
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limits.append(int((GROUPS / name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such group, or no limit ("max")
            pass
    given, _ = resource.getrlimit(resource.RLIMIT_AS)
    if given != resource.RLIM_INFINITY:
        limits.append(given)
    return min(limit for limit in limits if limit > 0)


def give_back() -> None:
    """Gives memory that was freed back to the system, where allocators keep it.

    To be called after work of another kind than what follows, which would not use it again.
    """
    if pa := sys.modules.get("pyarrow"):  # not imported for it
        pa.default_memory_pool().release_unused()
    if sys.platform.startswith("linux") and (
        trim := getattr(ctypes.CDLL(None), "malloc_trim", None)
    ):
        trim(0)


def check_memory(need: float, what: str, mend: str, room: int | None = None) -> None:
    """Raises `InputError` if more bytes are needed than this machine has.

    Arguments:
        need: Bytes that are needed at least.
        what: What takes them, as the subject of a sentence: "A batch of 10 signals".
        mend: What to do instead.
        room: The bytes that are available; those of the machine if not given.

    Raises:
        InputError: If there are not enough.

    Example:
        >>> check_memory(2**70, "A codebook", "make it smaller", room=2**34)
        Traceback (most recent call last):
        smalti.errors.InputError: A codebook needs at least 1.2 ZB of memory, got a machine with
        17 GB: make it smaller.
    """
    room = available_memory() if room is None else room
    if need > room:
        raise InputError(
            f"{what} needs at least {format_bytes(need)} of memory, got a machine with "
            f"{format_bytes(room)}: {mend}."
        )


def check_disk(need: float, folder: Path, what: str, mend: str) -> None:
    """Raises `InputError` if the disk of a folder, which need not exist yet, has too little space.

    Raises:
        InputError: If there is not as much room.
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    room = shutil.disk_usage(there).free
    if need > room:
        raise InputError(
            f"{what} needs at least {format_bytes(need)} of disk, got {format_bytes(room)} in "
            f"{there}: {mend}."
        )


def format_bytes(count: float) -> str:
    """Formats a number of bytes with a unit: "12 kB".

    Example:
        >>> format_bytes(999), format_bytes(12_345), format_bytes(3.2e12)
        ('999 bytes', '12 kB', '3.2 TB')
    """
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("kB", "MB", "GB", "TB", "PB", "EB"):
        count /= 1000
        if count < 1000:
            return f"{count:.2g} {unit}" if count < 100 else f"{count:.0f} {unit}"
    count /= 1000
    return f"{count:.2g} ZB" if count < 1e6 else "more than any machine has"
