"""Normalizes names of labels, and formats names and paths for messages.

The same word can be stored in two ways: "é" as one character, or as an "e" and an accent after it
(macOS unpacks archives so). And a name on a disk can be bytes that are no UTF-8. So names are
brought to one form (Unicode's NFC), spaces at their ends are cut, and bytes that are no text are
written as `\\xe9`.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence

__all__ = ["as_text", "label_name", "listed", "readable"]


def label_name(name: str) -> str:
    """Normalizes the name of a label to the form in which it is kept and compared.

    Example:
        >>> label_name("e\\u0301te\\u0301 ") == "\\u00e9t\\u00e9", label_name("caf\\udce9")
        (True, 'caf\\\\xe9')
    """
    return unicodedata.normalize("NFC", as_text(name)).strip()


def readable(name: str | os.PathLike[str]) -> str:
    """Converts a path or a name to one line that can be printed and written as UTF-8."""
    return "".join(
        letter if letter.isprintable() else ascii(letter)[1:-1]
        for letter in as_text(os.fspath(name))
    )


def listed(names: Sequence[str], most: int) -> str:
    """Lists at most so many names for a message, separated by commas.

    Example:
        >>> listed(["cat", "dog", "eel"], 2)
        'cat, dog, …'
    """
    return ", ".join(map(readable, names[:most])) + ", …" * (len(names) > most)


def as_text(name: str) -> str:
    """Returns a name as UTF-8 can write it: bytes that are no text become `\\xe9`."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # another surrogate, which no name on a disk has
        return name.encode("utf-8", "backslashreplace").decode("utf-8")
