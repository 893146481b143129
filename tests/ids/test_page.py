"""The examples of docs/semantic-ids.md run as they stand there."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "semantic-ids.md"


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_every_example_of_the_page_runs():
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    done = doctest.testfile(str(PAGE), module_relative=False, optionflags=flags, encoding="utf-8")
    assert done.failed == 0 and done.attempted > 30
