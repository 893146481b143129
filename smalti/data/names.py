"""Names of labels and files: compared as a reader reads them, and fit to be written anywhere.

The same word can be stored in two ways: "é" as one character, or as an "e" and an accent after it
(macOS unpacks archives so). And a name on a disk can be bytes that are no UTF-8. So names are
brought to one form (Unicode's NFC), spaces at their ends are cut, and bytes that are no text are
written as `\\xe9`.
"""

from __future__ import annotations

import os
import unicodedata

__all__ = ["as_text", "label_name", "readable"]


def label_name(name: str) -> str:
    """The form in which names of labels are kept and compared.

    Example:
        >>> label_name("e\\u0301te\\u0301 ") == "\\u00e9t\\u00e9", label_name("caf\\udce9")
        (True, 'caf\\\\xe9')
    """
    return unicodedata.normalize("NFC", as_text(name)).strip()


def readable(name: str | os.PathLike[str]) -> str:
    """A path or a name on one line that can be printed and written as UTF-8."""
    return "".join(
        letter if letter.isprintable() else ascii(letter)[1:-1]
        for letter in as_text(os.fspath(name))
    )


def as_text(name: str) -> str:
    """A name that can be written as UTF-8: bytes of a file name that are none become `\\xe9`."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # another surrogate, which no name on a disk has
        return name.encode("utf-8", "backslashreplace").decode("utf-8")
