"""A user's mistake: one line on stderr and exit status 2."""

from __future__ import annotations

import pytest

from smalti.cli import main

__all__ = ["mistake"]


def mistake(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The line that a mistake gives."""
    capsys.readouterr()
    assert main(list(words)) == 2
    line = capsys.readouterr().err
    assert line.startswith("smalti: ")
    assert line.count("\n") == 1
    return line
