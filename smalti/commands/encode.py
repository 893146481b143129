"""`smalti encode`: images to token indices."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.commands.common import call
from smalti.data.files import read_images
from smalti.generation import Model
from smalti.tokens import TokenGrids, write_tokens

__all__ = ["run"]


def run(words: Sequence[str]) -> None:
    """See `encode`."""
    call(encode, words, "folder", "files")


def encode(
    folder: str, files: list[str], *, out: str = "tokens.npz", convert: bool = False
) -> None:
    """Turns images into token indices.

    Args:
        folder: The run directory.
        files: Image files.
        out: A .npz or .parquet file; its `indices` are (N, *grid), in the order of the files.
        convert: Resize and crop images of another size, turn grey into colour and back.
    """
    model = Model.load(folder)
    indices = model.encode(read_images(files, model.signal, convert))
    write_tokens(out, TokenGrids(indices), model.codebook_size)
    print(f"{out}: indices {tuple(indices.shape)}, each below {model.codebook_size}")
