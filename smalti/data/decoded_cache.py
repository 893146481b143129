"""A cache on disk of decoded examples, found by content, for all runs and processes of a machine.

    ~/.cache/smalti/decoded/WAY/CONTENT/values       the arrays of all examples, in order
                                       /rows.npy     a fingerprint and facts of each example
                                       /facts.json   checksums of both, and facts of all

WAY is a hash of how they were decoded, CONTENT of the fingerprints of all examples in order, or of
the files that they lie in, where nothing less than decoding these tells the examples apart.
An entry appears whole or not at all, is never changed, and is mapped into memory: its pages are
shared by all processes, and the system drops them when it needs the room. One that is damaged is
not used and replaced. Of a set that has changed, what is in another entry is copied from there.

SMALTI_CACHE names another folder, SMALTI_CACHE_GIB the room it may take (20 GiB): entries that were
used least recently make way. SMALTI_NO_CACHE=1, or `--no_cache` of a command, keeps nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from smalti.errors import InputError
from smalti.files import atomic_folder, remove, tidy, write_text

__all__ = ["DecodedCache", "CacheEntry", "open_cache", "cache_disabled"]

logger = logging.getLogger(__name__)

FORMAT = 1
VALUES, ROWS, FACTS = "values", "rows.npy", "facts.json"
GIB = 20.0
PART = 1 << 24  # bytes that a checksum takes at a time
BROKEN = (OSError, ValueError, KeyError, TypeError)

_off: ContextVar[bool] = ContextVar("off", default=False)


class CacheEntry(NamedTuple):
    """One data set in the cache: N decoded examples, and the facts that were stored with them.

    Attributes:
        values: (N, *shape), uint8, mapped into memory.
        rows: (N,), a structured array with a fingerprint and further fields for each example.
        facts: Facts on all examples together, as JSON values.
    """

    values: np.ndarray
    rows: np.ndarray
    facts: dict[str, Any]


@contextlib.contextmanager
def cache_disabled() -> Iterator[None]:
    """Disables the cache within a `with` block: nothing is read from it or written to it."""
    token = _off.set(True)
    try:
        yield
    finally:
        _off.reset(token)


def open_cache(parameters: Mapping[str, Any], shape: tuple[int, ...]) -> DecodedCache | None:
    """Opens the cache of examples that are decoded with given parameters; `None` if it is disabled.

    Arguments:
        parameters: All that decoded values depend on beside the stored content, as JSON values.
        shape: Shape of one decoded example.

    Raises:
        InputError: If SMALTI_CACHE_GIB is no number.
    """
    if _off.get() or os.environ.get("SMALTI_NO_CACHE", "") not in ("", "0"):
        return None
    try:
        limit = float(os.environ.get("SMALTI_CACHE_GIB") or GIB)
    except ValueError as error:
        raise InputError(
            f"SMALTI_CACHE_GIB is the room of the cache in GiB, got "
            f"{os.environ['SMALTI_CACHE_GIB']!r}: give a number, such as 20."
        ) from error
    usual = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "smalti"
    root = Path(os.environ.get("SMALTI_CACHE") or usual).expanduser() / "decoded"
    described = json.dumps([FORMAT, dict(parameters), shape], sort_keys=True)
    name = hashlib.sha256(described.encode()).hexdigest()[:32]
    return DecodedCache(root, name, shape, int(limit * 2**30))


class DecodedCache:
    """The cached data sets that were decoded with the same parameters; `open_cache` opens it.

    Arguments:
        root: The folder of the whole cache.
        name: Name of the folder in it for these parameters.
        shape: Shape of one decoded example.
        limit: Bytes that the whole cache may take.
    """

    def __init__(self, root: Path, name: str, shape: tuple[int, ...], limit: int) -> None:
        self.root, self.folder, self.shape, self.limit = root, root / name, shape, limit

    def has_room(self, n: int) -> bool:
        """Returns whether the cache may hold n examples."""
        return n * int(np.prod(self.shape)) <= self.limit

    def is_empty(self) -> bool:
        """Returns whether there is no entry."""
        return not any(self._entries())

    def find(self, fingerprints: np.ndarray) -> CacheEntry | None:
        """Returns the entry of the examples, or files, of these fingerprints (N, 16), in order.

        `None` if there is no such entry, or it is damaged.
        """
        return self._read(self.folder / _key(fingerprints))

    def find_rows(self, fingerprints: np.ndarray) -> dict[int, tuple[CacheEntry, int]]:
        """Finds examples in any entry: of each place that is found, the entry and its row."""
        places: dict[int, tuple[CacheEntry, int]] = {}
        for path in self._entries():
            if len(places) == len(fingerprints) or (entry := self._read(path)) is None:
                continue
            known = {row.tobytes(): i for i, row in enumerate(entry.rows["fingerprint"])}
            for place, one in enumerate(fingerprints):
                if place not in places and (row := known.get(one.tobytes())) is not None:
                    places[place] = entry, row
        return places

    @contextlib.contextmanager
    def writing(self, n: int) -> Iterator[CacheDraft]:
        """Yields a draft of an entry of n examples, which is kept if its `finish` is called.

        Raises:
            OSError: If the disk has no room, or the folder cannot be written to.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        tidy(self.folder)
        self._make_way(n * int(np.prod(self.shape)))
        # The name follows from the content, which may not be known before it is decoded.
        with _scratch(self.folder) as temporary:
            draft = CacheDraft(temporary, (n, *self.shape))
            yield draft
            if draft.key is not None:
                self._keep(temporary, draft.key)

    def _keep(self, temporary: Path, key: str) -> None:
        path = self.folder / key
        if self._read(path) is None:  # else another process was first
            with atomic_folder(path) as folder:
                for name in (VALUES, ROWS, FACTS):
                    (temporary / name).rename(folder / name)

    def _entries(self) -> Iterator[Path]:
        with contextlib.suppress(OSError):
            found = [path for path in self.folder.iterdir() if path.name[0] != "."]
            yield from sorted(found, key=_used, reverse=True)

    def _read(self, path: Path) -> CacheEntry | None:
        """Returns an entry of the cache; None if it is gone, or damaged and so removed."""
        try:
            facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
            rows = np.load(path / ROWS, allow_pickle=False)
            values = np.memmap(path / VALUES, np.uint8, "c", shape=(len(rows), *self.shape))
            if (path / VALUES).stat().st_size != values.nbytes:
                raise ValueError("it has another size")
            if [_sum(path / VALUES), _sum(path / ROWS)] != facts["checksums"]:
                raise ValueError("a checksum differs")
            now = time.time_ns()  # finer than the kernel's own stamps, which may be alike
            os.utime(path / FACTS, ns=(now, now))
        except FileNotFoundError:
            return None
        except BROKEN as error:
            logger.warning("The cache %s is damaged (%s): it is made anew.", path, error)
            with contextlib.suppress(OSError):
                remove(path)
            return None
        return CacheEntry(values, rows, facts["facts"])

    def _make_way(self, needed: int) -> None:
        """Removes the entries used least recently until there is room for so many bytes."""
        paths = sorted(self.root.glob("*/[!.]*"), key=_used)
        taken = sum(_bytes(path) for path in paths)
        for path in paths:
            if taken + needed <= self.limit:
                break
            taken -= _bytes(path)
            with contextlib.suppress(OSError):
                remove(path)


class CacheDraft:
    """A cache entry that is being written; other processes see it once it is finished.

    Attributes:
        values: (N, *shape), uint8, to be filled.
        key: The name of the finished entry; `None` before `finish`.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        self._folder = folder
        self.key: str | None = None
        size = int(np.prod(shape))
        with (folder / VALUES).open("wb") as file:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):  # now, and not in the middle of the work
                os.posix_fallocate(file.fileno(), 0, size)
        self.values = np.memmap(folder / VALUES, np.uint8, "r+", shape=shape)

    def finish(
        self, rows: np.ndarray, facts: Mapping[str, Any], files: np.ndarray | None = None
    ) -> None:
        """Completes it.

        Arguments:
            rows: A row for each example; see `CacheEntry`.
            facts: What holds of all examples together.
            files: The fingerprints (F, 16) of the files that they lie in, where the entry is to be
                found by these; by those of the rows if not given.
        """
        self.values.flush()
        np.save(self._folder / ROWS, rows)
        sums = [_sum(self._folder / VALUES), _sum(self._folder / ROWS)]
        write_text(self._folder / FACTS, json.dumps({"checksums": sums, "facts": dict(facts)}))
        self.key = _key(rows["fingerprint"] if files is None else files)


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Gives a temporary folder that `tidy` removes if the process is killed."""
    with contextlib.suppress(_Discarded), atomic_folder(folder / "draft") as temporary:
        yield temporary
        raise _Discarded


class _Discarded(Exception):
    """A temporary folder has been emptied and is not to be kept."""


def _key(fingerprints: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(fingerprints).tobytes()).hexdigest()[:32]


def _used(path: Path) -> int:
    try:
        return (path / FACTS).stat().st_mtime_ns
    except OSError:
        return 0


def _bytes(path: Path) -> int:
    with contextlib.suppress(OSError):  # another process removes it
        return sum(file.stat().st_size for file in path.glob("*"))
    return 0


def _sum(path: Path) -> int:
    """Returns the CRC-32 of a file."""
    total = 0
    with path.open("rb") as file:
        while part := file.read(PART):
            total = zlib.crc32(part, total)
    return total
