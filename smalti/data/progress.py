"""A progress bar for what takes a while, where there is a terminal to show it on."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

__all__ = ["progress"]

T = TypeVar("T")


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yields `items`, with a bar on stderr where that is a terminal, once it has taken 2 s."""
    silent = not sys.stderr.isatty()
    yield from tqdm(items, desc=what, total=total, leave=False, delay=2, disable=silent)
