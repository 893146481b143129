"""Writes and reads latent vectors: the array `latents` (N, D) of a .npz file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.files import atomic_file
from smalti.npz import DAMAGED, array_names, list_names, read_npz, write_npz
from smalti.outputs import check_file

__all__ = ["read_latents", "write_latents"]


def write_latents(
    path: str | Path, z: Tensor, overwrite: bool = False, files: Sequence[str] | None = None
) -> None:
    """Writes latents (N, D) to a .npz file as the array `latents`, and their files as `file`.

    Raises:
        InputError: If the path does not end in .npz, or a file that smalti did not write would be
            replaced without `overwrite`.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise InputError(f"Latents are written as .npz, got {path.name}: name it {path.stem}.npz.")
    check_file(path, overwrite)
    with atomic_file(path) as temporary:
        names = {} if files is None else {"file": np.array(files, dtype=str)}
        write_npz(temporary, {"latents": z.cpu().numpy(), **names})


def read_latents(path: str | Path) -> Tensor:
    """Reads the latents in a .npz file: (N, D), float32.

    Raises:
        InputError: If the file is missing, is damaged or holds no latents.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise InputError(
            f"Latents are read from a .npz, got {path.name}: give one that smalti encode wrote."
        )
    if not path.exists():
        raise InputError(f"There is no file {path}: give the path of a .npz.")
    try:
        arrays = read_npz(path, re.compile("latents|indices"))
        if "latents" not in arrays:
            held = "token indices" if "indices" in arrays else list_names(array_names(path))
            raise ValueError(f"latents (N, D) are missing, it holds {held}")
        latents = arrays["latents"]
        floating = np.issubdtype(latents.dtype, np.floating)
        if latents.ndim != 2 or not len(latents) or not floating:
            raise ValueError(f"latents are {latents.dtype} of the shape {latents.shape}")
        if not (np.abs(latents) <= np.finfo(np.float32).max).all():
            raise ValueError("not all are finite")
    except DAMAGED as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} holds no whole latents ({reason}): write it with smalti encode."
        ) from error
    return torch.from_numpy(latents.astype(np.float32))
