"""`smalti encode`: files to token indices or latents."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.commands.common import call, read_files
from smalti.generation import ContinuousModel, load
from smalti.latents import write_latents
from smalti.outputs import output
from smalti.tokens import TokenGrids, write_tokens

__all__ = ["run"]


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
        files: Files of the kind that the run was learned from.
        out: A .npz or .parquet file with `indices` (N, *grid), in the order of the files, and
            `indices_1` … of the finer levels of a hierarchy; latents are written to a .npz, as
            `latents` (N, D).
        convert: Make files fit the model, though they lose by it (its size, say).
        overwrite: Replace what smalti did not write, too.
    """
    model = load(folder)
    suffixes = (".npz",) if isinstance(model, ContinuousModel) else (".npz", ".parquet")
    path = output(out, suffixes, overwrite=overwrite)
    x = read_files(model, files, convert)
    if isinstance(model, ContinuousModel):
        z = model.encode(x)
        write_latents(path, z, overwrite)
        print(f"{path}: latents {tuple(z.shape)}")
        return
    levels = model.layout.unpack(model.encode_flat(x))
    write_tokens(path, TokenGrids(levels), model.layout.largest, overwrite)
    shapes = ", ".join(str(tuple(grid.shape)) for grid in levels)
    print(f"{path}: indices {shapes}, each below {model.layout.largest}")
