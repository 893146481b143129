"""`smalti reconstruct`: encodes and decodes signals, and shows both side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from smalti.commands.common import (
    call_with_options,
    expand_files,
    read_batches,
    read_files,
    read_signal,
)
from smalti.commands.signal_output import SignalOutput
from smalti.errors import InputError
from smalti.generation import load
from smalti.modalities.base import ManyPerFile, modality_of
from smalti.reporting.figures import display
from smalti.signals import Signal

__all__ = ["run"]


def run(words: Sequence[str]) -> None:
    """Parses the command line and calls `reconstruct`."""
    call_with_options(reconstruct, words, "folder", "files")


def reconstruct(  # noqa: PLR0913 - the options of the command
    folder: str,
    files: list[str],
    *,
    out: str | None = None,
    convert: bool = False,
    any_size: bool = False,
    levels: int | None = None,
    codebooks: int | None = None,
    overwrite: bool = False,
) -> None:
    """Encodes and decodes signals, writes them with their originals, and prints the error.

    Arguments:
        folder: The run directory.
        files: Files of the kind that the run was learned from, folders of them, or patterns.
        out: A .png for one picture, originals above reconstructions (reconstructions.png if not
            given), or a folder for a file each; of tables and sounds also one file of all
            reconstructions.
        convert: Make files fit the model, though they lose by it (its size, say).
        any_size: Take files at their own size, as convolutional tokenizers can; sounds that are not
            shown in a picture always are, unless they are converted.
        levels: How many levels of a hierarchy are decoded, from the coarsest; all if not given.
        codebooks: How many of several codebooks are used, from the first on, for fewer bits; all
            if not given.
        overwrite: Replace what smalti did not write, too.
    """
    signal = read_signal(folder)
    files = expand_files(signal, files)
    if isinstance(modality_of(signal), ManyPerFile):
        _reconstruct_tables(signal, folder, files, out, convert, levels, codebooks, overwrite)
        return
    output = SignalOutput(
        signal,
        out,
        len(files),
        default_name="reconstructions",
        columns=len(files),
        inputs=files,
        overwrite=overwrite,
    )
    model = load(folder)
    if signal.any_length and not output.single and not convert:
        any_size = any_size or model.autoencoder.one_size is None
    if not any_size:
        x: Any = read_files(model, files, convert)
        x_hat: Any = model.reconstruct(x, levels, codebooks=codebooks)
    else:  # one at a time: only those of one size can be stacked
        x = [read_files(model, [file], convert, any_size)[0] for file in files]
        if output.single and len({one.shape for one in x}) > 1:
            raise InputError(
                f"{output.path} shows {model.signal.plural} of one size, got different ones: give "
                f"--out FOLDER for a file each, or --convert in place of --any_size."
            )
        x_hat = [
            model.reconstruct(one[None], levels, any_size, codebooks=codebooks)[0] for one in x
        ]
    for file, original, reconstruction in zip(files, x, x_hat, strict=True):
        print(f"{file}: {_closeness(model.signal, original[None], reconstruction[None])}")
    output.write(torch.stack([*x, *x_hat]) if output.single else x_hat)


def _reconstruct_tables(  # noqa: PLR0913 - the options of the command
    signal: Signal,
    folder: str,
    files: list[str],
    out: str | None,
    convert: bool,
    levels: int | None,
    codebooks: int | None,
    overwrite: bool,
) -> None:
    """Reconstructs all signals of files that hold many; says of each file how close they are."""
    output = SignalOutput(
        signal, out, 0, default_name="reconstructions", inputs=files, overwrite=overwrite
    )
    model = load(folder)
    batches = [list(read_batches(model, [file], convert)) for file in files]
    originals = [torch.cat([batch.x for batch in parts]) for parts in batches]
    made = [model.reconstruct(x, levels, codebooks=codebooks) for x in originals]
    for file, x, x_hat in zip(files, originals, made, strict=True):
        print(f"{file}: {_closeness(model.signal, x, x_hat)}")
    if output.single:
        output.write_pairs(torch.cat(originals), torch.cat(made))
        return
    names = [name for parts in batches for batch in parts for name in batch.names]
    output.write(torch.cat(made), names=names)


def _closeness(signal: Signal, x: Tensor, x_hat: Tensor) -> str:
    """Says how close a reconstruction is, by the first figure of each metric."""
    words = []
    for metric in modality_of(signal).metrics(signal):
        metric.update(x, x_hat)
        figures = metric.figures("")
        key = next(key for key in (*metric.cards, *figures) if key in figures)
        words.append(f"{metric.names[key]} {display(figures[key])}")
    return ", ".join(words)
