"""`smalti encode`: files to token indices or latents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from smalti.commands.common import call, files_of, read_files
from smalti.generation import Model, load
from smalti.latents import write_latents
from smalti.outputs import output
from smalti.spelling import as_text
from smalti.tokens import TokenGrids, write_tokens

__all__ = ["run"]

BATCH = 256  # files that are in memory at a time


def run(words: Sequence[str]) -> None:
    """See `encode`."""
    call(encode, words, "folder", "files")


def encode(
    folder: str,
    files: list[str],
    *,
    out: str = "tokens.npz",
    convert: bool = False,
    overwrite: bool = False,
) -> None:
    """Turns files into token indices, or with a continuous model into latents.

    Arguments:
        folder: The run directory.
        files: Files of the kind that the run was learned from, folders of them, or patterns such
            as "some/*"; those of a folder or a pattern are sorted by name.
        out: A .npz or .parquet file with `indices` (N, *grid), in the order of the files, and
            `indices_1` … of the finer levels of a hierarchy; latents are written to a .npz, as
            `latents` (N, D). `file` (N,) has the names of the files.
        convert: Make files fit the model, though they lose by it (its size, say).
        overwrite: Replace what smalti did not write, too.
    """
    model = load(folder)
    suffixes = (".npz",) if model.layout is None else (".npz", ".parquet")
    path = output(out, suffixes, overwrite=overwrite)
    files = files_of(model.signal, files)
    names = tuple(map(as_text, files))
    if model.layout is None:
        z = torch.cat([model.encode(x) for x in _read(model, files, convert)])
        write_latents(path, z, overwrite, names)
        print(f"{path}: latents {tuple(z.shape)}")
        return
    tokens = torch.cat([model.encode_flat(x) for x in _read(model, files, convert)])
    levels = model.layout.unpack(tokens)
    write_tokens(path, TokenGrids(levels, None, names), model.layout.largest, overwrite)
    shapes = ", ".join(str(tuple(grid.shape)) for grid in levels)
    print(f"{path}: indices {shapes}, each below {model.layout.largest}")


def _read(model: Model, files: Sequence[str], convert: bool) -> Iterator[Tensor]:
    for start in range(0, len(files), BATCH):
        yield read_files(model, files[start : start + BATCH], convert)
