"""`smalti traverse`: shows what each latent dimension changes in a signal."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.commands.common import call_with_options, expand_files, read_named_signals
from smalti.commands.signal_output import SignalOutput
from smalti.errors import InputError
from smalti.generation import load

__all__ = ["run"]


def run(words: Sequence[str]) -> None:
    """Parses the command line and calls `traverse`."""
    call_with_options(traverse, words, "folder", "file")


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
    """Decodes a signal with one latent dimension changed at a time, one row per dimension.

    Arguments:
        folder: The run directory.
        file: A file, or the number of a test example of the run's data.
        rows: How many dimensions; all if not given.
        steps: The number of values of each dimension.
        reach: How far to each side, in standard deviations of the prior.
        out: A .png for one picture of all (traversals.png if not given), or a folder for a file
            each; of sounds also a .wav or .flac of all, one after another.
        data: Where the run's data lie now, if they were moved.
        convert: Make the file fit the model, though it loses by it (its size, say).
        overwrite: Replace what smalti did not write, too.
    """
    model = load(folder)
    dims = model.dimensions(rows)
    files = expand_files(model.signal, [file], numbers=True)
    if len(files) != 1:
        raise InputError(
            f"One {model.signal.noun} is traversed, got the {len(files)} of {file}: name one."
        )
    (file,) = files
    output = SignalOutput(
        model.signal,
        out,
        len(dims) * steps,
        default_name="traversals",
        inputs=[file],
        overwrite=overwrite,
    )
    (x,) = read_named_signals(model, [file], convert, data)
    output.write(model.traverse(x, rows, steps, reach).flatten(0, 1), columns=steps)
    print(f"dimensions, row by row: {', '.join(map(str, dims))}")
