"""The files of a folder that a kind of data is read from, and what is told of the others."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from smalti.data.file_tree import FileTree, Parts
from smalti.data.found import FoundExamples, suffix_of, tables_by_split
from smalti.data.names import NameParser
from smalti.data.parquet import parquet_rows
from smalti.data.rows import RowsBuilder
from smalti.errors import InputError
from smalti.signals import Signal
from smalti.spelling import readable

__all__ = ["FileKinds", "check_parquet", "find_parquet"]

PARQUET = ".parquet"
ARCHIVES = {".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"}
LOOKED_INTO = 200  # files of unknown kinds, whose first bytes are read


class FileKinds(NamedTuple):
    """The kinds of files that signals of a class come in.

    Attributes:
        signal: The class of the signals.
        word: What a file of such a kind is called, whether it is read or not: "picture".
        read: Suffixes of those that are read.
        unread: Suffixes of those that are not.
        magic: What the first bytes of one look like.
        endings: Some suffixes that are read, in words: ".wav, .flac, .ogg or .mp3".
        usual: The most usual of them: (".wav", ".flac").
    """

    signal: type[Signal]
    word: str
    read: frozenset[str]
    unread: frozenset[str]
    magic: re.Pattern[bytes]
    endings: str
    usual: tuple[str, str]

    def describe_missing(self, folder: Path, files: list[Parts]) -> str:
        """Says that a folder has no file that is read, what it has, and what to do."""
        some = sorted({readable(suffix_of(file) or file[-1]) for file in files})
        has = f"only {', '.join(some[:5])}" if some else "it is empty"
        remedy = f"put files that end in {self.endings} there, or in subfolders"
        if any(suffix_of(file) in ARCHIVES for file in files):
            remedy = f"unpack what is packed, or {remedy}"
        elif any(suffix_of(file) in self.unread for file in files):
            remedy = f"convert them to {' or '.join(self.usual)} first"
        elif any(self._shows(folder.joinpath(*file)) for file in files[:LOOKED_INTO]):
            remedy = (
                f"some are {self.word}s by their content, so have their names end in "
                f"{', '.join(self.usual)} …"
            )
        return f"The folder {readable(folder)} has no {self.signal.plural}, {has}: {remedy}."

    def count_others(self, folder: Path, files: list[Parts]) -> Counter[str]:
        """Counts files that are not read, by kind."""
        kinds: Counter[str] = Counter()
        looked = 0
        for file in files:
            suffix = suffix_of(file)
            if suffix in self.unread:
                kinds[f"{suffix} files, a kind of {self.word} that is not read"] += 1
                continue
            if suffix in ARCHIVES:
                kinds[f"{suffix} files, which are not unpacked"] += 1
                continue
            looked += 1
            if looked <= LOOKED_INTO and self._shows(folder.joinpath(*file)):
                shown = readable(suffix) or "none"
                kinds[f"{self.word}s by their content, but with the ending {shown}"] += 1
            else:
                kinds["other files"] += 1
        return kinds

    def _shows(self, path: Path) -> bool:
        """Returns whether the first bytes of a file are those of such a kind."""
        try:
            with path.open("rb") as file:
                return self.magic.match(file.read(16)) is not None
        except OSError:
            return False


def check_parquet(file: Path) -> Path:
    """Returns a file that is a data set by itself.

    Raises:
        InputError: If its name does not end in .parquet.
    """
    if file.suffix.lower() == PARQUET:
        return file
    archive = file.suffix.lower() in ARCHIVES
    raise InputError(
        f"{readable(file)} is one file, but not a parquet file: "
        f"{'unpack it, and ' if archive else ''}give the path of a folder."
    )


def find_parquet(
    folder: Path, tree: FileTree, kinds: FileKinds, table: RowsBuilder, names: NameParser | None
) -> FoundExamples | None:
    """Finds the examples in the parquet files of a folder; `None` if there is no such file.

    Arguments:
        folder: The folder.
        tree: Its files.
        kinds: The kinds of files of such data, which are passed over beside tables.
        table: Makes rows of parquet files.
        names: Reads splits from names of files; None where they say none.
    """
    tables = [file for file in tree.files if suffix_of(file) == PARQUET]
    if not tables:
        return None
    passed = tree.passed
    others = [file for file in tree.files if suffix_of(file) != PARQUET]
    passed.update(kinds.count_others(folder, others))
    parts = tables_by_split(tables, names, passed)
    rows = {
        split: parquet_rows([folder.joinpath(*file) for file in files], table, kinds.signal)
        for split, files in parts.items()
    }
    origins = {split: ["/".join(file) for file in files] for split, files in parts.items()}
    return FoundExamples(kinds.signal, readable(folder), dict(rows), origins, +passed)
