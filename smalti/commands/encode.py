"""`smalti encode`: images to token indices."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.commands.common import call, read_signals
from smalti.generation import Model
from smalti.tokens import TokenGrids, write_tokens

__all__ = ["run"]


def run(words: Sequence[str]) -> None:
    """See `encode`."""
    call(encode, words, "folder", "files")


def encode(
    folder: str, files: list[str], *, out: str = "tokens.npz", resize: bool = False
) -> None:
    """Turns images into token indices.

    Args:
        folder: The run directory.
        files: Image files.
        out: A .npz or .parquet file; its `indices` are (N, *grid), in the order of the files.
        resize: Whether images of another size are resized and cropped to that of the model.
    """
    model = Model.load(folder)
    indices = model.encode(read_signals(files, model, resize))
    write_tokens(out, TokenGrids(indices), model.codebook_size)
    print(f"{out}: indices {tuple(indices.shape)}, each below {model.codebook_size}")
