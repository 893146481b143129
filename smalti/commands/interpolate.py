"""`smalti interpolate`: the way from one signal to another."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.commands.common import call, files_of, named_signals, signal_of
from smalti.commands.signal_output import SignalOutput
from smalti.counting import counted
from smalti.errors import InputError
from smalti.generation import load

__all__ = ["run"]


def run(words: Sequence[str]) -> None:
    """See `interpolate`."""
    call(interpolate, words, "folder", "files")


def interpolate(  # noqa: PLR0913 - the options of the command
    folder: str,
    files: list[str],
    *,
    steps: int = 9,
    out: str | None = None,
    columns: int | None = None,
    data: str | None = None,
    convert: bool = False,
    overwrite: bool = False,
) -> None:
    """Mixes two signals in the latent space, and decodes what lies between them.

    A model with tokens mixes the vectors before they are quantized.

    Arguments:
        folder: The run directory.
        files: Two files, a folder or a pattern of two, or numbers of test examples of the run's
            data.
        steps: Signals on the way, both ends included.
        out: A .png for one picture of all (interpolation.png if not given), or a folder for a file
            each.
        columns: Signals per row in the picture; all in one row if not given.
        data: Where the run's data lie now, if they were moved.
        convert: Make files fit the model, though they lose by it (its size, say).
        overwrite: Replace what smalti did not write, too.
    """
    signal = signal_of(folder)
    files = files_of(signal, files, numbers=True)
    if len(files) != 2:
        raise InputError(f"A way has two ends, got {counted(len(files), 'signal')}: give two.")
    output = SignalOutput(
        signal,
        out,
        steps,
        default_name="interpolation",
        columns=columns,
        inputs=files,
        overwrite=overwrite,
    )
    model = load(folder)
    x_a, x_b = named_signals(model, files, convert, data)
    output.write(model.interpolate(x_a, x_b, steps), columns=steps)
