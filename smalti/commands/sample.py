"""`smalti sample`: draws new signals from a run's prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from smalti.commands.common import expand_files, read_signal
from smalti.commands.edited_files import edit_files, edited_output
from smalti.commands.run_options import call_with_conditions, drawing_options, positional_words
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
    positional = positional_words(sample, words)
    if len(positional) > 1 and any(word.partition("=")[0] == "--complete" for word in words):
        raise InputError(
            f"The option --complete takes one file, folder or pattern, got {positional[1]} too: "
            f"put a pattern in quotes."
        )
    call_with_conditions(sample, words, "folder")


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
    candidates: int = 1,
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
        out: A .png for one picture of all (samples.png if not given), or a folder for a file each;
            of sounds also a .wav or .flac of all, one after another.
        n: The number of signals.
        complete: A file of which a part is given: what it marks as missing is filled in, or, where
            it marks nothing, what `keep` does not name. Or a folder of such files, or a pattern
            in quotes: then n signals are made of each.
        keep: Part that is given of a file that marks nothing as missing; which there
            are depends on the kind of data, e.g. top, or 'begin 0.5' (seconds of a sound).
        convert: Make the file to complete fit the model, though it loses by it (its size, say).
        prior: learned, histogram (token grids seen in training) or uniform.
        temperature: Below 1 for likelier, above 1 for more varied samples.
        top_k: Draw from the k likeliest indices only.
        top_p: Draw from the likeliest indices that hold this share of the probability.
        guidance: Above 1 to show more of the condition; for runs fitted with a condition_dropout.
        steps: Passes in which a prior that draws many indices at once makes a grid, such as
            MaskedPrior or LatentDiffusion; more are slower and better.
        order: In which order it does so: confidence, halton or random.
        choice_temperature: How much luck there is at first in the order confidence.
        candidates: How many are drawn for each that is kept, those that fit their text best; for
            runs fitted with a reranker.
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
    output = edited_output(
        signal, out, files, n, default_name="samples", columns=columns, overwrite=overwrite
    )
    model = load(folder)
    asked = {name: text for name, text in conditions.items() if text is not None} or None
    config = SamplingConfig(temperature, top_k, top_p, guidance, steps, order, choice_temperature)
    options = drawing_options(prior, seed, config, candidates)
    if complete is None:
        output.write(model.sample(n, asked, **options), title=_title(model.condition, asked))
        return
    modality, source = modality_of(model.signal), source_arguments(model.run)

    def read(file: str) -> tuple[Tensor, Tensor]:
        x, given = modality.read_partial(file, model.signal, keep, convert, source)
        return x, ~given

    edit_files(model, files, read, output, n, condition=asked, **options)


def _title(condition: Condition | None, asked: Mapping[str, str] | None) -> str:
    """Returns the captions among what is asked for, as the title of a picture."""
    named = conditions_by_name(condition)
    texts = [text for name, text in (asked or {}).items() if named[name].takes_any_text]
    return ", ".join(f"“{readable(text)}”" for text in texts)
