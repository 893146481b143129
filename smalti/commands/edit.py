"""`smalti edit`: inpaints a part of given signals, varies them, or swaps a part of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from smalti.commands.common import expand_files, read_signal
from smalti.commands.edited_files import edit_files, edited_output
from smalti.commands.run_options import call_with_conditions, drawing_options
from smalti.errors import InputError
from smalti.generation import load
from smalti.generation.checks import source_arguments
from smalti.modalities.base import modality_of
from smalti.priors import SamplingConfig

__all__ = ["run"]

SEAM = 4  # values, where the user says no more than --paste_back


def run(words: Sequence[str]) -> None:
    """Parses the command line and calls `edit`; each condition of the run is an option."""
    call_with_conditions(edit, words, "folder", "files")


def edit(  # noqa: PLR0913 - the options of the command
    folder: str,
    files: list[str],
    *,
    mask: str | None = None,
    strength: float | None = None,
    swap: str | None = None,
    paste_back: bool = False,
    blend: int | None = None,
    out: str | None = None,
    n: int = 1,
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
    """Inpaints a part of given signals and keeps the rest, varies them, or swaps a part.

    A run has an option for each of its conditions: smalti edit RUN --help lists them. What is not
    given of them is drawn.

    Arguments:
        folder: The run directory.
        files: Files, folders of such, or patterns in quotes.
        mask: A file of the same size that marks by white, or by 1, what is edited; of sounds also
            stretches of seconds, such as 0.5-1.2. Every token that holds some of it is drawn anew.
        strength: Vary: draw this share of the tokens anew, above 0 and up to 1, of those that the
            mask marks, or of all without one.
        swap: Take what the mask marks from this file; nothing is drawn.
        paste_back: Paste the original back outside of the mask.
        blend: Width of the seam between the original and the edit, with paste_back (4 if not
            given).
        out: A .png for one picture of all (edited.png if not given), or a folder for a file each;
            of sounds also a .wav or .flac of all, one after another.
        n: The number of signals to make of each file.
        convert: Make files and mask fit the model, though they lose by it (their size, say).
        prior: learned, histogram (token grids seen in training) or uniform.
        temperature: Below 1 for likelier, above 1 for more varied samples.
        top_k: Draw from the k likeliest indices only.
        top_p: Draw from the likeliest indices that hold this share of the probability.
        guidance: Above 1 to show more of the condition; for runs fitted with a condition_dropout.
        steps: Passes in which a prior that draws many indices at once fills in a grid, such as
            MaskedPrior; more are slower and better.
        order: In which order it does so: confidence, halton or random.
        choice_temperature: How much luck there is at first in the order confidence.
        candidates: How many are drawn for each that is kept, those that fit their text best; for
            runs fitted with a reranker.
        seed: Makes the result repeatable.
        columns: Signals per row in the picture.
        overwrite: Replace what smalti did not write, too.
    """
    _check_choice(mask, strength, swap, paste_back, blend)
    signal = read_signal(folder)
    found = expand_files(signal, files)
    output = edited_output(
        signal,
        out,
        found,
        n,
        default_name="edited",
        columns=columns,
        overwrite=overwrite,
        also_read=[file for file in (mask, swap) if file is not None],
    )
    model = load(folder)
    modality, source = modality_of(model.signal), source_arguments(model.run)
    marked = None if mask is None else modality.read_mask(mask, model.signal, convert, source)
    other = None if swap is None else modality.read(swap, model.signal, convert, source)

    def read(file: str) -> tuple[Tensor, Tensor | None]:
        return modality.read(file, model.signal, convert, source), marked

    config = SamplingConfig(temperature, top_k, top_p, guidance, steps, order, choice_temperature)
    edit_files(
        model,
        found,
        read,
        output,
        n,
        condition={name: text for name, text in conditions.items() if text is not None} or None,
        strength=strength,
        swap=other,
        blend=(SEAM if blend is None else blend) if paste_back else None,
        **drawing_options(prior, seed, config, candidates),
    )


def _check_choice(
    mask: str | None,
    strength: float | None,
    swap: str | None,
    paste_back: bool,
    blend: int | None,
) -> None:
    """Raises `InputError` unless the options say what to edit, and fit each other."""
    if mask is None and strength is None and swap is None:
        raise InputError(
            "Nothing says what to edit: give --mask FILE, --strength S to vary the whole, or both."
        )
    for name, given in (
        ("swap", swap is not None),
        ("paste_back", paste_back),
        ("blend", blend is not None),
    ):
        if given and mask is None:
            raise InputError(f"The option --{name} is of a mask, got none: give --mask FILE.")
    if blend is not None and not paste_back:
        raise InputError(
            f"A seam is where something is pasted back, got --blend {blend} alone: give "
            f"--paste_back, too."
        )
    for name, file in (("mask", mask), ("swap", swap)):
        if file is not None and Path(file).is_dir():
            raise InputError(f"The option --{name} takes one file, got the folder {file}.")
