"""Finds the captions of files in folders.

captions.csv, metadata.csv    a row for each file of its folder and below: file_name, text
cat.txt beside cat.png        the caption of that file alone, where no table names it
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePath

from smalti.data.file_tree import Parts
from smalti.errors import InputError, first_line
from smalti.files import read_bytes
from smalti.spelling import readable

__all__ = ["folder_captions", "may_caption"]

TABLES = ("captions.csv", "metadata.csv")
FILES = ("file_name", "file")  # the column with the name of the file
LARGEST = 1 << 30  # bytes of a table
LARGEST_TEXT = 1 << 20  # bytes of a file with one caption


def folder_captions(
    folder: Path, files: Sequence[Parts], captioned: Sequence[Parts], column: str
) -> dict[Parts, str]:
    """Reads the captions of files: of tables that lie beside them or above, else of text files.

    Arguments:
        folder: The folder.
        files: All files in it, each as a tuple of names.
        captioned: The files whose captions are wanted.
        column: The column of a table that holds the captions.

    Returns:
        The caption of each file that has one.

    Raises:
        InputError: If a table or a text cannot be read, or has no such columns.
    """
    found: dict[Parts, str] = {}
    there = set(files)
    for table in sorted(file for file in there if file[-1].lower() in TABLES):
        found |= _table(folder, table, column)
    for file in captioned:
        text = (*file[:-1], f"{PurePath(file[-1]).stem}.txt")
        if file not in found and text in there:
            found[file] = _text(folder.joinpath(*text), LARGEST_TEXT).strip()
    return found


def may_caption(file: Parts) -> bool:
    """Returns whether a file is of the kinds that hold captions."""
    return file[-1].lower() in TABLES or file[-1].lower().endswith(".txt")


def _table(folder: Path, table: Parts, column: str) -> dict[Parts, str]:
    """Reads a table of captions to those of each file."""
    path = folder.joinpath(*table)
    # Not by lines of Python, which end at characters that a caption may hold, such as U+2028.
    rows = csv.DictReader(io.StringIO(_text(path, LARGEST), newline=""))
    try:
        names = list(rows.fieldnames or ())
        file = next((name for name in FILES if name in names), None)
        if file is None or column not in names:
            raise InputError(
                f"{readable(path)} has a column {FILES[0]} and one called {column!r}, got the "
                f"columns {readable(', '.join(names)) or 'none'}: write these, or name another "
                f"with --data.columns.text."
            )
        return {(*table[:-1], *PurePath(row[file]).parts): row[column] for row in rows if row[file]}
    except csv.Error as error:
        raise InputError(
            f"{readable(path)} cannot be read as a table ({first_line(error)}): write it again."
        ) from error


def _text(path: Path, largest: int) -> str:
    """Reads a file of UTF-8."""
    try:
        return read_bytes(path, largest).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{readable(path)} cannot be read as UTF-8 ({first_line(error)}): write it again."
        ) from error
