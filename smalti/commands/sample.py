"""`smalti sample`: draws new signals from a run's prior."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from smalti.commands.common import call_with_options, expand_files, read_condition, read_signal
from smalti.commands.signal_output import SignalOutput
from smalti.conditions import Condition, conditions_by_name
from smalti.errors import InputError
from smalti.generation import load
from smalti.generation.checks import source_arguments
from smalti.modalities.base import modality_of
from smalti.priors import SamplingConfig
from smalti.spelling import readable

__all__ = ["run"]


def run(words: Sequence[str]) -> None:
    """Parses the command line and calls `sample`; each condition of the run is an option."""
    own = {
        name: parameter
        for name, parameter in inspect.signature(sample).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    flags = [name for name, parameter in own.items() if parameter.annotation == "bool"]
    positional = _positionals(words, ["help", *flags])
    folder = positional[0] if positional else None
    if len(positional) > 1 and any(word.partition("=")[0] == "--complete" for word in words):
        raise InputError(
            f"The option --complete takes one file, folder or pattern, got {positional[1]} too: "
            f"put a pattern in quotes."
        )
    named: Mapping[str, Condition] = {}
    if folder is not None:
        condition = read_condition(folder)
        named = conditions_by_name(condition)
        if taken := next((name for name in named if name in own), None):
            raise InputError(
                f"The condition {taken!r} has the name of an option of smalti sample, got both: "
                f"sample in Python, model.sample(16, {{{taken!r}: …}})."
            )
        _check_options(words, [*own, *named, "help"], condition, folder)
    more = {name: f"{name} to show: {each.help}" for name, each in named.items()}
    call_with_options(sample, words, "folder", more=more)


def sample(  # noqa: PLR0913 - the options of the command
    folder: str,
    *,
    out: str | None = None,
    n: int = 16,
    complete: str | None = None,
    keep: str | None = None,
    convert: bool = False,
    prior: str = "learned",
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    guidance: float = 1.0,
    steps: int | None = None,
    order: str | None = None,
    choice_temperature: float | None = None,
    seed: int | None = None,
    columns: int | None = None,
    overwrite: bool = False,
    **conditions: str | None,
) -> None:
    """Draws new signals from a run's prior and decodes them.

    A run has an option for each of its conditions: smalti sample RUN --help lists them. A model of
    vectors has neither conditions nor tokens, and takes n, temperature and seed alone.

    Arguments:
        folder: The run directory.
        out: A .png for one picture of all (samples.png if not given), or a folder for a file each.
        n: The number of signals.
        complete: A file of which a part is given: what it marks as missing is filled in, or, where
            it marks nothing, what `keep` does not name. Or a folder of such files, or a pattern
            in quotes: then n signals are made of each.
        keep: Part that is given of a file that marks nothing as missing; which there
            are depends on the kind of data, e.g. top.
        convert: Make the file to complete fit the model, though it loses by it (its size, say).
        prior: learned, histogram (token grids seen in training) or uniform.
        temperature: Below 1 for likelier, above 1 for more varied samples.
        top_k: Draw from the k likeliest indices only.
        top_p: Draw from the likeliest indices that hold this share of the probability.
        guidance: Above 1 to show more of the condition; for runs fitted with a condition_dropout.
        steps: Passes in which a prior that draws many indices at once fills in a grid, such as
            MaskedPrior; more are slower and better.
        order: In which order it does so: confidence, halton or random.
        choice_temperature: How much luck there is at first in the order confidence.
        seed: Makes the result repeatable.
        columns: Signals per row in the picture.
        overwrite: Replace what smalti did not write, too.
    """
    if complete is None and (keep is not None or convert):
        option = "--convert" if keep is None else f"--keep {keep}"
        raise InputError(
            f"There is no file to complete, got {option}: leave it out, or give --complete FILE."
        )
    signal = read_signal(folder)
    files = [] if complete is None else expand_files(signal, [complete])
    several = len(files) > 1
    output = SignalOutput(
        signal,
        out,
        n * max(len(files), 1),
        default_name="samples",
        columns=columns,
        # In a folder those of several files are named by them.
        inputs=[file for file in files for _ in range(n if several else 1)],
        overwrite=overwrite,
    )
    model = load(folder)
    asked = {name: text for name, text in conditions.items() if text is not None} or None
    config = SamplingConfig(temperature, top_k, top_p, guidance, steps, order, choice_temperature)
    options: dict[str, Any] = {"prior": prior, "seed": seed, "config": config}
    if complete is None:
        output.write(model.sample(n, asked, **options))
        return
    modality, source = modality_of(model.signal), source_arguments(model.run)
    made = []
    for file in files:
        x, given = modality.read_partial(file, model.signal, keep, convert, source)
        made.append(model.edit(x, ~given, asked, n=n, **options))
    output.write(torch.cat(made), columns=n if several and n > 1 else None)


def _positionals(words: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Returns the words that are neither options nor values of one."""
    found, left = [], iter(words)
    for word in left:
        if not word.startswith("-"):
            found.append(word)
        elif word.startswith("--") and "=" not in word and word[2:] not in flags:
            next(left, None)
    return found


def _check_options(
    words: Sequence[str], known: Sequence[str], condition: Condition | None, folder: str
) -> None:
    """Raises `InputError` for an option that there is not, and says which conditions there are."""
    for word in words:
        name = word.removeprefix("--").partition("=")[0]
        if word.startswith("--") and name not in known:
            options = " and ".join(f"--{each}" for each in conditions_by_name(condition))
            has = f"is conditioned on a {condition.name}, {options}" if condition else ""
            raise InputError(
                f"There is no option --{readable(name)[:60]}: this model "
                f"{has or 'has no condition'}; smalti sample {readable(folder)} --help lists all."
            )
