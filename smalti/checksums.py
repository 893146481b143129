"""Checksums of what a result was made from, so that mismatched parts of a run are noticed.

    data ─▶ tokenizer ─▶ tokens ─▶ prior ─▶ report          data ─▶ autoencoder ─▶ report

Each of these, and each saved state of a training, carries the checksums of what it was made from,
by name (`made_from`). Before one is used with others, these checksums are compared.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

from smalti.errors import InputError

__all__ = ["check_made_from", "identity", "own"]

logger = logging.getLogger(__name__)

_warned_of: set[str] = set()  # once is enough

WORDS = {
    "data": "other data",
    "recipe": "another recipe",
    "stage": "another stage",
    "tokenizer": "another tokenizer",
    "tokens": "other tokens",
}


def identity(description: Any) -> str:
    """Returns the checksum of a JSON value, whatever the order of its keys.

    Example:
        >>> identity({"a": 1, "b": 2}) == identity({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def own(wanted: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Returns the first checksum of each name: what something is made from now."""
    return {name: checksums[0] for name, checksums in wanted.items()}


def check_made_from(
    what: str, found: Mapping[str, str], wanted: Mapping[str, tuple[str, ...]], mend: str
) -> None:
    """Checks that something was made from what the run has now; warns if it does not say.

    Arguments:
        what: Its path, for the message.
        found: The checksums that it carries, by name.
        wanted: For each name the checksums that match what the run has.
        mend: What to do if it was made from something else.

    Raises:
        InputError: If it was made from something else.
    """
    if not found:
        if what in _warned_of:
            return
        _warned_of.add(what)
        logger.warning(
            "%s does not say what it was made from, as an earlier version did not: that it belongs "
            "to the run cannot be checked.",
            what,
        )
        return
    other = [WORDS.get(name, name) for name in wanted if found.get(name) not in wanted[name]]
    if other:
        raise InputError(f"{what} was made from {' and '.join(other)} than this run has: {mend}")
