"""Makes printing safe on terminals of any encoding.

Where a terminal's encoding lacks a character, a plain one stands in its place, or its number; so do
the bytes of a name that is not UTF-8. Output that nobody takes any more is dropped.
"""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import suppress
from typing import TextIO

__all__ = ["discard_unwritten_output", "as_one_line", "accept_any_text"]

HANDLER = "smalti.plain"
LONGEST = 2_000  # of a line that says what is wrong
INSTEAD = {
    **{
        "×": "x",
        "·": "*",
        "−": "-",
        "–": "-",
        "—": "-",
        "…": "...",
        "→": "->",
        "≤": "<=",
        "≥": ">=",
    },
    **{"≈": "~", "±": "+-", "²": "^2", "³": "^3", "‘": "'", "’": "'", "“": '"', "”": '"', "•": "*"},
    **{"√": "sqrt", "χ": "chi", "τ": "tau", "β": "beta", "λ": "lambda", "Σ": "sum", "✓": "yes"},
}


def accept_any_text() -> None:
    """Makes standard output and error accept any text, whatever their encoding."""
    codecs.register_error(HANDLER, _instead)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started the command
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=HANDLER)


def discard_unwritten_output() -> None:
    """Discards buffered output that cannot be written, so that the process ends without error."""
    stream: TextIO = sys.stdout
    try:
        stream.flush()
    except OSError:
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def as_one_line(text: str) -> str:
    """Shortens a text to one readable line, without control characters.

    Example:
        >>> as_one_line("no file \\n  named \\x1b[2J")
        'no file named \\\\x1b[2J'
    """
    line = " ".join(text.split())
    if len(line) > LONGEST:
        line = f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}"
    return "".join(
        letter if letter.isprintable() or "\udc80" <= letter <= "\udcff" else _number(letter)
        for letter in line
    )


def _instead(error: UnicodeError) -> tuple[str, int]:
    """Returns the substitute of a character that the encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(INSTEAD.get(letter) or _number(letter) for letter in wrong), error.end


def _number(letter: str) -> str:
    """Returns a letter as the escape of its number."""
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return (
        letter.encode("ascii", "backslashreplace").decode("ascii")
        if code > 127
        else f"\\x{code:02x}"
    )
