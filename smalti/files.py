"""Writes files and folders atomically: whole or not at all.

A writer works on a temporary name in the same folder; what it wrote is flushed to the disk and then
renamed onto the final name, which POSIX does in one step. A process killed in between, or a full
disk, leaves what was there before.

A temporary name is `.NAME.PID-RANDOM.partial`, and is locked while its writer lives: what is not
locked was left by a killed process, and `tidy` clears it away. Where a folder takes the place of
another, the two are exchanged in one step; on file systems that cannot do that the old one is
`.NAME.PID-RANDOM.old` for a moment, and `tidy` finishes what was begun.

Links are followed: what they name is replaced, they stay. What is new has the permissions that the
umask leaves, what is replaced keeps its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from smalti.errors import InputError
from smalti.reading import check_regular_file, kind_of, read_bytes, sha256

__all__ = [
    "atomic_file",
    "atomic_files",
    "atomic_folder",
    "is_abandoned",
    "read_bytes",
    "check_regular_file",
    "remove",
    "sha256",
    "tidy",
    "write_text",
]

LONGEST = 40  # characters of a name that stand in a temporary one: names have at most 255 bytes
LEFT = re.compile(  # the ids without a dash are those of smalti 0.1
    r"\.(?P<name>.+)\.(?P<id>(?P<pid>\d+)-[0-9a-f]{8}|\d+|[a-z0-9_]{8})"
    r"\.(?P<state>partial|old)(?P<suffix>\.[^.]{1,15})?",
    re.DOTALL,
)
YOUNG = 5.0  # seconds: what a living process has just made may not be locked yet
STALE = 86_400.0  # seconds, where a file system knows no locks
EXCHANGE = 2  # RENAME_EXCHANGE of Linux


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path, and renames it to `path` if the `with` block succeeds.

    Raises:
        InputError: If there is something at `path` that is no file, such as a pipe.
        OSError: If there is a folder, or the disk does not allow it.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_file(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> [file.name for file in folder.iterdir()]
        ['a.txt']
    """
    path = Path(path)
    target = _followed(path)
    # The suffix stays, because many writers choose their format by it.
    suffix = target.suffix if len(target.suffix) <= 16 else ""
    temporary = _beside(target.parent, target.stem, suffix)
    try:
        replaced = _replaced(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _held(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL):
            try:
                yield temporary
                _flush(temporary)
                if replaced is not None:
                    temporary.chmod(stat.S_IMODE(replaced.st_mode))
                temporary.replace(target)
                _flush(target.parent)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.filename in (str(temporary), str(target)):
            error.filename = str(path)  # the name that the caller knows
            error.filename2 = None
        raise


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yields a temporary folder, and renames it to `path` if the `with` block succeeds.

    An existing folder at `path` is replaced as a whole.

    Raises:
        OSError: If there is a file at `path`, or the disk does not allow it.
    """
    path = _followed(Path(path))
    tidy(path.parent, path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary_folder(path.parent, path.name) as temporary:
        yield temporary
        for file in temporary.rglob("*"):
            _flush(file)
        _flush(temporary)
        _put(temporary, path)
        _flush(path.parent)


@contextlib.contextmanager
def atomic_files(folder: str | Path, *names: str) -> Iterator[Path]:
    """Yields a temporary folder, and moves its files `names` to `folder` if the block succeeds.

    What else is in `folder` stays as it is. A process that is killed between two of them leaves the
    rest in the temporary folder, whose name matches `.files.*.partial`.
    """
    folder = Path(folder)
    targets = {name: _followed(folder / name) for name in names}
    for target in targets.values():
        _replaced(target)
    folder.mkdir(parents=True, exist_ok=True)
    tidy(folder, "files")
    with _temporary_folder(folder, "files") as temporary:
        yield temporary
        for name in names:
            _flush(temporary / name)
        for name, target in targets.items():
            if target.exists():
                (temporary / name).chmod(stat.S_IMODE(target.stat().st_mode))
            _move(temporary / name, target)
            _flush(target.parent)


def remove(path: str | Path) -> None:
    """Removes a file or folder atomically: it is renamed first, and `tidy` clears leftovers."""
    path = Path(path)
    if path.exists():
        gone = _beside(path.parent, path.name)
        path.rename(gone)
        _remove(gone)


def write_text(path: str | Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def tidy(folder: str | Path, name: str | None = None) -> None:
    """Cleans up after killed processes: finishes or clears their half-written files in a folder.

    Of a folder that was being replaced, the new one takes its place, or the old one is put back
    where the new one is gone. What a living process is writing is left alone.

    Arguments:
        folder: The folder to clean up, without its subfolders.
        name: Name of the file or folder that was being written; all if not given.
    """
    folder = Path(folder)
    with contextlib.suppress(OSError):  # what cannot be cleared does no harm
        found = [(entry, LEFT.fullmatch(entry.name)) for entry in folder.iterdir()]
        left = [(entry, match) for entry, match in found if match]
        if name is not None:
            left = [(entry, match) for entry, match in left if _is_of(match, name)]
        for entry, match in sorted(left, key=lambda pair: pair[1]["state"] != "old"):
            if not is_abandoned(entry):
                continue
            if match["state"] == "old":
                _finish(entry, folder / match["name"])
            _remove(entry)


def _finish(old: Path, path: Path) -> None:
    """Puts the new folder, which is whole where the old one has made way, or the old one back."""
    if not path.exists():
        new = old.with_suffix(".partial")
        (new if new.is_dir() else old).rename(path)


def _is_of(match: re.Match[str], name: str) -> bool:
    suffix = match["suffix"] or ""
    return match["name"] in (Path(name).stem[:LONGEST], name[:LONGEST]) and name.endswith(suffix)


def is_abandoned(path: Path) -> bool:
    """Returns whether the process that wrote a temporary file or folder has ended."""
    match = LEFT.fullmatch(path.name)
    pid = None if match is None else match["pid"]
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            return False
        age = time.time() - found.st_mtime
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return age > STALE
    finally:
        os.close(handle)
    return age > YOUNG or pid is None or not _is_running(int(pid))


def _is_running(pid: int) -> bool:
    """Returns whether a process with this number runs."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # of another user
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _beside(folder: Path, name: str, suffix: str = "") -> Path:
    """Returns a new temporary name in a folder."""
    id_ = f"{os.getpid()}-{secrets.token_hex(4)}"
    return folder / f".{name[:LONGEST]}.{id_}.partial{suffix}"


@contextlib.contextmanager
def _temporary_folder(folder: Path, name: str) -> Iterator[Path]:
    """Makes a folder with a temporary name; holds it while the block lasts, then removes it."""
    temporary = _beside(folder, name)
    try:
        temporary.mkdir()
        with _held(temporary, os.O_RDONLY):
            yield temporary
    except OSError as error:
        if error.filename == str(temporary):
            error.filename, error.filename2 = str(folder / name), None
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _held(path: Path, flags: int) -> Iterator[None]:
    """Opens or makes a file or folder and holds a lock on it: its writer lives."""
    handle = os.open(path, flags, 0o666)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _followed(path: Path) -> Path:
    """Returns where the links at a path lead."""
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return target


def _replaced(target: Path) -> os.stat_result | None:
    """Returns the status of the file at a path; None where there is none."""
    try:
        found = target.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not stat.S_ISREG(found.st_mode):
        raise InputError(
            f"{target} is {kind_of(found.st_mode)}, and no file can take its place: choose another "
            f"name."
        )
    return found


def _put(new: Path, path: Path) -> None:
    """Renames a folder onto another, or onto a name that is free."""
    if not path.exists():
        new.rename(path)
        return
    if not path.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    new.chmod(stat.S_IMODE(path.stat().st_mode))
    if _exchange(new, path):
        return  # what was there has the temporary name now
    old = new.with_suffix(".old")
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two folders in one step, where system and file system can."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    here = -100  # AT_FDCWD
    return rename(here, os.fsencode(one), here, os.fsencode(other), EXCHANGE) == 0


def _move(new: Path, target: Path) -> None:
    """Renames a file; to another file system, where a link has led, by way of a copy."""
    try:
        new.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with atomic_file(target) as temporary:
            shutil.copyfile(new, temporary)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
