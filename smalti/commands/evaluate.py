"""`smalti evaluate`: measures a run and writes its report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smalti.commands.common import call
from smalti.data import Splits
from smalti.errors import InputError
from smalti.evaluation import Limits, Report, evaluate, evaluate_latents
from smalti.generation import ContinuousModel, Model, load
from smalti.outputs import check_file, check_place
from smalti.priors import Prior
from smalti.runs import Run, data_of, parts

__all__ = ["check_report", "report", "run"]


def run(words: Sequence[str]) -> int:
    """See `again`."""
    return call(again, words, "folder")


def again(folder: str, *, overwrite: bool = False, changed_data: str = "refuse") -> int:
    """Measures a run on its test set and writes report.html, report.json and samples/.

    Args:
        folder: The run directory.
        overwrite: Replace what smalti did not write, too.
        changed_data: Where the data are not those that the run was made from: refuse, or ignore, to
            measure on those alone.
    """
    finished = Run.existing(folder)
    check_report(finished.folder, overwrite)
    return report(finished, data_of(finished, changed_data), overwrite)


def check_report(folder: Path, overwrite: bool) -> None:
    """Raises `InputError` if the report would replace files that smalti did not write."""
    check_place(folder / Report.FILES[0])
    for name in Report.FILES:
        check_file(folder / name, overwrite)
    samples = Run(folder).samples
    if samples.exists() and not samples.is_dir():
        raise InputError(f"{samples} is a file, and the pictures go to a folder of it: move it.")


def report(run: Run, splits: Splits, overwrite: bool = False) -> int:
    """Writes the report and the pictures of a run, and says where they lie.

    Returns:
        The exit status: 1 if a measurement failed in a way that nobody foresaw, else 0.
    """
    recipe = run.recipe()
    model = load(run.folder).to(recipe.hardware.device())
    chosen = recipe.evaluation
    limits = Limits(chosen.test, chosen.samples, chosen.classifier_steps)
    shared: dict[str, Any] = {
        "curves": run.curves(),
        "limits": limits,
        "seed": recipe.seed,
        "title": run.folder.name,
    }
    if isinstance(model, ContinuousModel):
        made = evaluate_latents(model, splits, **shared)
    else:
        histogram, why = _histogram(model)
        made = evaluate(model, splits, histogram, **shared)
        if why:
            made.leave_out("Histogram of the training tokens", why, "rate/histogram")
    made.made_from = parts(run)
    made.save(run.folder, overwrite)
    made.save_pictures(run.samples, overwrite)
    print(f"Pictures: {run.samples}   Report: {run.folder / 'report.html'}")
    if made.failed:
        print(
            f"smalti: the report is whole but for {', '.join(made.failed)}: see above why, and "
            f"report it as a fault of smalti's",
            file=sys.stderr,
        )
    return int(bool(made.failed))


def _histogram(model: Model) -> tuple[Prior | None, str]:
    """Returns the histogram of the tokens of a run, or why there is none."""
    if model.prior is None:
        return None, ""
    try:
        return model.scheme("histogram"), ""
    except InputError as error:  # damaged tokens cost this scheme alone
        return None, str(error)
