"""`smalti interpolate`: interpolates between two signals in the latent space."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.commands.common import call_with_options, expand_files, read_named_signals, read_signal
from smalti.commands.signal_output import SignalOutput
from smalti.counting import counted
from smalti.errors import InputError
from smalti.generation import load

__all__ = ["run"]


def run(words: Sequence[str]) -> None:
    """Parses the command line and calls `interpolate`."""
    call_with_options(interpolate, words, "folder", "files")


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
    """Interpolates between the latents of two signals, and decodes the points between.

    A model with tokens interpolates between the vectors before they are quantized.

    Arguments:
        folder: The run directory.
        files: Two files, a folder or a pattern of two, or numbers of test examples of the run's
            data.
        steps: The number of signals, both ends included.
        out: A .png for one picture of all (interpolation.png if not given), or a folder for a file
            each; of sounds also a .wav or .flac of all, one after another.
        columns: Signals per row in the picture; all in one row if not given.
        data: Where the run's data lie now, if they were moved.
        convert: Make files fit the model, though they lose by it (its size, say).
        overwrite: Replace what smalti did not write, too.
    """
    signal = read_signal(folder)
    files = expand_files(signal, files, numbers=True)
    if len(files) != 2:
        raise InputError(
            f"Interpolation is between two signals, got {counted(len(files), 'signal')}: give two."
        )
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
    x_a, x_b = read_named_signals(model, files, convert, data)
    output.write(model.interpolate(x_a, x_b, steps), columns=steps)
