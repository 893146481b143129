"""`smalti traverse`: what each latent dimension changes."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.commands.common import call, files_of, named_signals
from smalti.commands.signal_output import SignalOutput
from smalti.counting import counted
from smalti.errors import InputError
from smalti.generation import ContinuousModel, load

__all__ = ["run"]


def run(words: Sequence[str]) -> None:
    """See `traverse`."""
    call(traverse, words, "folder", "file")


def traverse(  # noqa: PLR0913 - the options of the command
    folder: str,
    file: str,
    *,
    rows: int | None = None,
    steps: int = 9,
    reach: float = 3.0,
    out: str | None = None,
    data: str | None = None,
    convert: bool = False,
    overwrite: bool = False,
) -> None:
    """Changes one latent dimension of a signal at a time: one row each, the one that holds most
    first.

    Arguments:
        folder: The run directory.
        file: A file, or the number of a test example of the run's data.
        rows: How many dimensions; all if not given.
        steps: Values of each.
        reach: How far to each side, in standard deviations of the prior.
        out: A .png for one picture of all (traversals.png if not given), or a folder for a file
            each.
        data: Where the run's data lie now, if they were moved.
        convert: Make the file fit the model, though it loses by it (its size, say).
        overwrite: Replace what smalti did not write, too.
    """
    model = load(folder)
    if not isinstance(model, ContinuousModel):
        raise InputError(
            "Latent dimensions are traversed in a continuous model, got one with tokens: use "
            "smalti interpolate, or a run of an autoencoder."
        )
    if rows is not None and not 1 <= rows <= model.dim:
        raise InputError(
            f"This model has {counted(model.dim, 'dimension')}, a row each, got --rows {rows}: "
            "give 1 to "
            f"{model.dim}."
        )
    files = files_of(model.signal, [file], numbers=True)
    if len(files) != 1:
        raise InputError(
            f"One {model.signal.noun} is traversed, got the {len(files)} of {file}: name one."
        )
    (file,) = files
    count = (model.dim if rows is None else rows) * steps
    output = SignalOutput(
        model.signal, out, count, usual="traversals", inputs=[file], overwrite=overwrite
    )
    (x,) = named_signals(model, [file], convert, data)
    output.write(model.traverse(x, rows, steps, reach).flatten(0, 1), columns=steps)
    dims = ", ".join(str(d) for d in model.autoencoder.order[:rows].tolist())
    print(f"dimensions, row by row: {dims}")
