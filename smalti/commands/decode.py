"""`smalti decode`: token indices or latents to signals."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.commands.common import call_with_options
from smalti.commands.signal_output import SignalOutput
from smalti.errors import InputError
from smalti.generation import load
from smalti.latents import read_latents
from smalti.tokens import read_tokens

__all__ = ["run"]


def run(words: Sequence[str]) -> None:
    """Parses the command line and calls `decode`."""
    call_with_options(decode, words, "folder", "tokens")


def decode(
    folder: str,
    tokens: str,
    *,
    out: str | None = None,
    columns: int | None = None,
    any_size: bool = False,
    overwrite: bool = False,
) -> None:
    """Turns token indices, or the latents of a continuous model, into signals.

    Arguments:
        folder: The run directory.
        tokens: A .npz or .parquet file with `indices` (N, *grid), or a .npz with `latents` (N, D).
            Of a hierarchy with `indices_1` … of the finer levels, as many as are to be used.
        out: A .png for one picture of all (decoded.png if not given), or a folder for a file each.
        columns: Signals per row in the picture.
        any_size: Take grids of any size, as smalti encode --any_size gives them.
        overwrite: Replace what smalti did not write, too.
    """
    model = load(folder)

    def place(count: int) -> SignalOutput:
        return SignalOutput(
            model.signal, out, count, default_name="decoded", columns=columns, overwrite=overwrite
        )

    if model.layout is None:
        z = read_latents(tokens)
        output = place(len(z))
        output.write(model.decode(z))
        return
    levels = read_tokens(tokens).levels
    grids = tuple(tuple(grid.shape[1:]) for grid in levels)
    if not any_size and grids != model.layout.shapes[: len(grids)]:
        held, wanted = (", ".join(map(str, shapes)) for shapes in (grids, model.layout.shapes))
        raise InputError(
            f"{tokens} holds grids {held}, this model's are {wanted}: use the run that they were "
            f"made with, or --any_size where signals had another size."
        )
    output = place(len(levels[0]))
    output.write(model.decode(levels if model.layout.levels > 1 else levels[0]))
