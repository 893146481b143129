"""Lists the files below a folder in order, and counts what is passed over, by kind.

Nothing but regular files is ever opened: a named pipe or a device would wait or never end. Links
are followed, unless they lead to a folder that the walk meets anyway, so that circles end and a
folder keeps its own name.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from smalti.errors import InputError
from smalti.spelling import readable

__all__ = ["FileTree", "is_regular", "list_files"]

SYSTEM = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
SYSTEM |= {"__pycache__"}
CLUTTER = {"thumbs.db", "desktop.ini"}

DEEPEST = 100  # folders below folders

Parts = tuple[str, ...]


class FileTree(NamedTuple):
    """The files below a folder, and how many entries were passed over.

    Attributes:
        files: The path of each as a tuple of names; files of a folder come before its subfolders.
        passed: The number of entries that were passed over, by kind: "hidden files".
    """

    files: list[Parts]
    passed: Counter[str]


def is_regular(path: str | Path) -> bool:
    """Returns whether a path is an ordinary file or a link to one; never blocks on it."""
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return False


def list_files(folder: Path) -> FileTree:
    """Lists all ordinary files below a folder, and counts what it passes over.

    Passed over are hidden files, those of the system, and whatever is no ordinary file. Links to
    folders are followed, each folder once.

    Raises:
        InputError: If the folder cannot be read.
    """
    walker = _Walker(folder)
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise InputError(
            f"The folder {readable(folder)} cannot be read ({error.strerror}): ask for the right "
            f"to, or copy it."
        ) from error
    walker.go_through(())
    while walker.links:  # after all real folders, so that none is known by another's name
        link = walker.links.pop(0)
        walker.go_through(link)
    walker.files.sort(key=_order)
    return FileTree(walker.files, walker.passed)


class _Walker:
    """Collects the files below a folder, and counts what it passes over, by kind.

    Arguments:
        root: The folder. Links to folders are put aside in `links`, to go through at the end.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: list[Parts] = []
        self.links: list[Parts] = []
        self.passed: Counter[str] = Counter()
        self.seen: set[tuple[int, int]] = set()

    def go_through(self, start: Parts) -> None:
        """Collects the files below a folder, given by its names below the root."""
        waiting = [start]
        while waiting:
            parts = waiting.pop()
            try:
                here = self.root.joinpath(*parts)
                status = here.stat()
                entries = sorted(os.scandir(here), key=lambda entry: entry.name)
            except OSError:
                self.passed["folders that cannot be read"] += 1
                continue
            if (key := (status.st_dev, status.st_ino)) in self.seen:
                self.passed["links to folders that are here already"] += 1
                continue
            self.seen.add(key)
            if len(parts) >= DEEPEST:
                self.passed[f"folders that lie {DEEPEST} deep"] += 1
                continue
            before = len(self.files) + len(self.links) + len(waiting)
            for entry in entries:
                self._look_at(entry, (*parts, entry.name), waiting)
            if len(self.files) + len(self.links) + len(waiting) == before and parts:
                self.passed["empty folders"] += 1

    def _look_at(self, entry: os.DirEntry[str], parts: Parts, waiting: list[Parts]) -> None:
        """Notes an entry of a folder: a file, a folder to go through, or one passed over."""
        name = entry.name.casefold()
        if name[0] == ".":
            self.passed["hidden files and folders"] += 1
        elif name in SYSTEM or name in CLUTTER:
            self.passed["files and folders of the system's own"] += 1
        elif _is_folder(entry):
            (self.links if entry.is_symlink() else waiting).append(parts)
        elif is_regular(entry.path):
            self.files.append(parts)
        elif entry.is_symlink() and not Path(entry.path).exists():
            self.passed["links that lead nowhere"] += 1
        else:
            self.passed["pipes, sockets or devices"] += 1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _order(parts: Parts) -> tuple[tuple[bool, str], ...]:
    """Returns a key for sorting: a folder's files first, then its folders, each by name."""
    *folders, name = parts
    return (*((True, folder) for folder in folders), (False, name))
