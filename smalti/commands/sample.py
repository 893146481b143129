"""`smalti sample`: new signals from a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from smalti.commands.common import call, signal_of
from smalti.commands.signal_output import SignalOutput
from smalti.errors import InputError
from smalti.generation import Model, load
from smalti.generation.checks import source_of
from smalti.modalities.base import modality_of
from smalti.priors import SamplingConfig

__all__ = ["run"]


def run(words: Sequence[str]) -> None:
    """See `sample`."""
    call(sample, words, "folder")


def sample(  # noqa: PLR0913 - the options of the command
    folder: str,
    *,
    out: str | None = None,
    n: int = 16,
    time: str | None = None,
    label: str | None = None,
    complete: str | None = None,
    keep: str | None = None,
    convert: bool = False,
    prior: str = "learned",
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    columns: int | None = None,
    overwrite: bool = False,
) -> None:
    """Makes new signals with a run's prior and decoder.

    Which options there are for depends on the model: one of vectors has neither conditions nor
    tokens, and takes n, temperature and seed alone.

    Arguments:
        folder: The run directory.
        out: A .png for one picture of all (samples.png if not given), or a folder for a file each.
        n: How many.
        time: Time of day to show, e.g. 10:10.
        label: Class to draw, by name or number.
        complete: A file of which a part is given: what it marks as missing is filled in, or, where
            it marks nothing, what `keep` does not name.
        keep: Part that is given of a file that marks nothing as missing; which there
            are depends on the kind of data, e.g. top.
        convert: Make the file to complete fit the model, though it loses by it (its size, say).
        prior: learned, histogram (token grids seen in training) or uniform.
        temperature: Below 1 for likelier, above 1 for more varied samples.
        top_k: Draw from the k likeliest indices only.
        top_p: Draw from the likeliest indices that hold this share of the probability.
        seed: Makes the result repeatable.
        columns: Signals per row in the picture.
        overwrite: Replace what smalti did not write, too.
    """
    if complete is None and (keep is not None or convert):
        option = "--convert" if keep is None else f"--keep {keep}"
        raise InputError(
            f"There is no file to complete, got {option}: leave it out, or give --complete FILE."
        )
    inputs = [] if complete is None else [complete]
    output = SignalOutput(
        signal_of(folder),
        out,
        n,
        usual="samples",
        columns=columns,
        inputs=inputs,
        overwrite=overwrite,
    )
    model = load(folder)
    condition = _condition(model, time=time, label=label)
    config = SamplingConfig(temperature, top_k, top_p)
    options: dict[str, Any] = {"prior": prior, "seed": seed, "config": config}
    if complete is None:
        output.write(model.sample(n, condition, **options))
        return
    modality, source = modality_of(model.signal), source_of(model.run)
    x, given = modality.read_partial(complete, model.signal, keep, convert, source)
    output.write(model.edit(x, ~given, condition, n=n, **options))


def _condition(model: Model, **given: str | None) -> str | None:
    """Returns the one condition that was given, if it is of the kind that the model knows."""
    chosen = {name: text for name, text in given.items() if text is not None}
    if len(chosen) > 1:
        raise InputError("A sample has one condition, got both --time and --label: leave one out.")
    for name, text in chosen.items():
        if model.condition is None:
            state = "has no prior" if model.prior is None else "was learned without a condition"
            raise InputError(f"This model {state}, got --{name} {text}: leave it out.")
        if model.condition.name != name:
            raise InputError(
                f"This model is conditioned on a {model.condition.name}, got --{name} {text}: "
                f"use --{model.condition.name}."
            )
        return text
    return None
