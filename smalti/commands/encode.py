"""`smalti encode`: images to token indices or latents."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.commands.common import call, range_of
from smalti.generation import ContinuousModel, load
from smalti.latents import write_latents
from smalti.modalities.image.image_files import read_images
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
    """Turns images into token indices, or with a continuous model into latents.

    Arguments:
        folder: The run directory.
        files: Image files.
        out: A .npz or .parquet file with `indices` (N, *grid), in the order of the files, and
            `indices_1` … of the finer levels of a hierarchy; latents are written to a .npz, as
            `latents` (N, D).
        convert: Resize and crop images of another size, turn colour grey for a grey model.
        overwrite: Replace what smalti did not write, too.
    """
    model = load(folder)
    suffixes = (".npz",) if isinstance(model, ContinuousModel) else (".npz", ".parquet")
    path = output(out, suffixes, overwrite=overwrite)
    x = read_images(files, model.signal, convert, range_of(model))
    if isinstance(model, ContinuousModel):
        z = model.encode(x)
        write_latents(path, z, overwrite)
        print(f"{path}: latents {tuple(z.shape)}")
        return
    levels = model.layout.unpack(model.encode_flat(x))
    write_tokens(path, TokenGrids(levels), model.layout.largest, overwrite)
    shapes = ", ".join(str(tuple(grid.shape)) for grid in levels)
    print(f"{path}: indices {shapes}, each below {model.layout.largest}")
