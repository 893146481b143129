"""Writes and reads saved states with a checksum.

A state is a checkpoint of torch's, a zip archive, whose comment holds the SHA-256 of all bytes
before it. So one bit that flips on the disk is noticed, where torch itself would train on with
another number.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smalti.errors import InputError, first_line
from smalti.files import atomic_file, read_bytes
from smalti.model_folder import FORMAT

__all__ = ["read_verified", "write_sealed"]

SEAL = b"smalti sha256 "
SEALED = len(SEAL) + 64  # bytes
END = 22  # bytes of the end of an archive without a comment


def write_sealed(content: Mapping[str, Any], path: str | Path) -> None:
    """Writes a checkpoint with its checksum to a temporary name, flushes, renames."""
    # By way of memory: torch's own file writer hides a full disk behind errors of its own.
    written = io.BytesIO()
    torch.save(content, written)
    whole = written.getbuffer()[:-2]  # the length of a comment, none as yet, is the end
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        file.write(whole)
        file.write(SEALED.to_bytes(2, "little"))
        file.write(SEAL + hashlib.sha256(whole).hexdigest().encode())


def read_verified(path: Path, parts: Set[str], wanted: Mapping[str, Tensor]) -> dict[str, Any]:
    """Reads a checkpoint that `write_sealed` wrote, after verifying its checksum.

    Arguments:
        path: Path of the file.
        parts: The keys that it must have, "state_dict" among them.
        wanted: The state dict of the model, whose names and shapes it must have.

    Raises:
        InputError: If it is damaged, of an earlier version, or of another model.
    """
    try:
        content = memoryview(read_bytes(path))
        body, seal = content[: -SEALED - 2], bytes(content[-SEALED:])
        sealed = seal == SEAL + hashlib.sha256(body).hexdigest().encode()
        if not sealed and not _is_whole_without_seal(content):
            raise ValueError("its checksum differs")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}, not the state of a training")
        if lacking := parts - state.keys():
            raise ValueError(f"it has no {sorted(lacking)[0]}")
        difference = _difference(state["state_dict"], wanted)
    except Exception as error:  # a broken pickle raises nearly anything
        raise InputError(
            f"{path} is damaged: delete it and give the same command again, which starts this "
            f"stage over ({first_line(error)})."
        ) from error
    if not sealed:
        raise InputError(
            f"{path} is of an earlier version of smalti, which trained otherwise and wrote no "
            f"checksum: delete it and give the same command again, which starts this stage over."
        )
    if (found := state.get("format")) != FORMAT:
        raise InputError(
            f"{path} was saved by another version of smalti, got the format {found!r:.20} and not "
            f"{FORMAT}: delete it and give the same command again, which starts this stage over."
        )
    if difference:
        raise InputError(
            f"{path} is the state of another model ({difference}): delete it and give the same "
            f"command again, which starts this stage over."
        )
    return state


def _is_whole_without_seal(content: memoryview) -> bool:
    """Returns whether it is an archive without a comment, all of whose parts are as they were
    written.
    """
    end = bytes(content[-END:])
    if not end.startswith(b"PK\x05\x06") or not end.endswith(b"\0\0"):
        return False
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.testzip() is None


def _difference(there: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Says where two states of a model first differ in names or shapes."""
    if other := sorted(there.keys() ^ wanted.keys()):
        return f"only one of them has {other[0]}"
    for name, tensor in wanted.items():
        if there[name].shape != tensor.shape:
            return f"{name} is {tuple(there[name].shape)} there and {tuple(tensor.shape)} here"
    return ""
