"""Finds names like one that is not there, also among millions."""

from __future__ import annotations

import difflib

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["close_names"]

MOST = 5000  # names that are compared letter by letter


def close_names(name: str, names: pa.Array, n: int = 3) -> list[str]:
    """Returns the n names that are most similar to a name, or fewer.

    Those with the longest beginning in common are compared letter by letter.

    Example:
        >>> close_names("item-24", pa.array(["item-4", "item-42", "cup"]))
        ['item-4', 'item-42']
    """
    lowered = name.strip().lower()
    found: list[str] = []
    for length in range(len(lowered), -1, -1):
        begins = pc.starts_with(names, lowered[:length], ignore_case=True)
        near = names.filter(begins).slice(0, MOST).to_pylist()
        by_letters = {other.lower(): other for other in near}
        close = difflib.get_close_matches(lowered, by_letters, n, cutoff=0.6)
        found += [by_letters[other] for other in close if by_letters[other] not in found]
        if len(found) >= n or len(near) == MOST:
            break
    return found[:n]
