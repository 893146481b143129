"""Finds the names that are most similar to a misspelt one, also among millions."""

from __future__ import annotations

import difflib

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["close_names"]

MOST = 5000  # names that are compared letter by letter


def close_names(name: str, names: pa.Array, n: int = 3) -> list[str]:
    """Finds the n names that are most similar to a name, for a "did you mean".

    Names with the longest common beginning are compared letter by letter.

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
