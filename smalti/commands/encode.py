"""`smalti encode`: files to token indices or latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from smalti.commands.common import call, files_of, read_files
from smalti.errors import InputError
from smalti.generation import load
from smalti.latents import write_latents
from smalti.outputs import output
from smalti.spelling import as_text, readable
from smalti.tokens import TokenGrids, write_tokens

__all__ = ["run"]

BATCH = 256  # files that are in memory at a time


def run(words: Sequence[str]) -> None:
    """See `encode`."""
    call(encode, words, "folder", "files")


def encode(  # noqa: PLR0913 - the options of the command
    folder: str,
    files: list[str],
    *,
    out: str = "tokens.npz",
    convert: bool = False,
    any_size: bool = False,
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
        any_size: Take files at their own size, as convolutional tokenizers can.
        overwrite: Replace what smalti did not write, too.
    """
    model = load(folder)
    suffixes = (".npz",) if model.layout is None else (".npz", ".parquet")
    path = output(out, suffixes, overwrite=overwrite)
    files = files_of(model.signal, files)
    names = tuple(map(as_text, files))
    # Of any size, one at a time: only those of one size can be stacked.
    at_once = 1 if any_size else BATCH
    parts = []
    for start in range(0, len(files), at_once):
        x = read_files(model, files[start : start + at_once], convert, any_size)
        latents = model.encode(x, any_size)
        parts.append(latents if isinstance(latents, tuple) else (latents,))
    for part, file in zip(parts, files, strict=False):
        if [each.shape[1:] for each in part] != [each.shape[1:] for each in parts[0]]:
            raise InputError(
                f"One array holds grids of one shape, got {readable(files[0])} and "
                f"{readable(file)} of different sizes: encode them one by one, or give "
                f"--convert in place of --any_size."
            )
    levels = tuple(torch.cat(level) for level in zip(*parts, strict=True))
    shapes = ", ".join(str(tuple(grid.shape)) for grid in levels)
    if model.layout is None:
        write_latents(path, levels[0], overwrite, names)
        print(f"{path}: latents {shapes}")
        return
    write_tokens(path, TokenGrids(levels, None, names), model.layout.largest, overwrite)
    print(f"{path}: indices {shapes}, each below {model.layout.largest}")
