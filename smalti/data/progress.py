"""Shows a progress bar on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

__all__ = ["progress"]

T = TypeVar("T")


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yields `items`; after 2 s shows a progress bar on stderr, if that is a terminal."""
    silent = not sys.stderr.isatty()
    yield from tqdm(items, desc=what, total=total, leave=False, delay=2, disable=silent)
