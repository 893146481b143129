"""Checksums of the inputs of a result, so that mismatched parts of a run are noticed.

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

__all__ = ["check_made_from", "json_checksum", "current_checksums"]

logger = logging.getLogger(__name__)

_warned_of: set[str] = set()  # once is enough

WORDS = {
    "data": "other data",
    "recipe": "another recipe",
    "stage": "another stage",
    "features": "another network of features",
    "tokenizer": "another tokenizer",
    "tokens": "other tokens",
}


def json_checksum(description: Any) -> str:
    """Computes the checksum of a JSON value, whatever the order of its keys.

    Example:
        >>> json_checksum({"a": 1, "b": 2}) == json_checksum({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def current_checksums(accepted: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Returns the current checksum of each input: the first of those that are accepted."""
    return {name: checksums[0] for name, checksums in accepted.items()}


def check_made_from(
    what: str, found: Mapping[str, str], accepted: Mapping[str, tuple[str, ...]], mend: str
) -> None:
    """Checks that a result was made from the present inputs of a run; warns if it has no checksums.

    Arguments:
        what: The path of the result, for the message.
        found: The checksums of inputs that the result carries, by name.
        accepted: The accepted checksums of each input.
        mend: What the message advises if they differ.

    Raises:
        InputError: If the result was made from other inputs.
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
    other = [WORDS.get(name, name) for name in accepted if found.get(name) not in accepted[name]]
    if other:
        raise InputError(f"{what} was made from {' and '.join(other)} than this run has: {mend}")
