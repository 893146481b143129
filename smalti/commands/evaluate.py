"""`smalti evaluate`: measures a run and writes its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smalti.commands.common import call
from smalti.data import Splits
from smalti.evaluation import Limits, Report, evaluate, evaluate_latents
from smalti.generation import ContinuousModel, load
from smalti.outputs import check_file
from smalti.runs import Run

__all__ = ["check_report", "report", "run"]


def run(words: Sequence[str]) -> None:
    """See `again`."""
    call(again, words, "folder")


def again(folder: str, *, overwrite: bool = False) -> None:
    """Measures a run on its test set and writes report.html, report.json and samples/.

    Args:
        folder: The run directory.
        overwrite: Replace what smalti did not write, too.
    """
    finished = Run.existing(folder)
    check_report(finished.folder, overwrite)
    report(finished, finished.recipe().data.load(), overwrite)


def check_report(folder: Path, overwrite: bool) -> None:
    """Raises `InputError` if the report would replace files that smalti did not write."""
    for name in Report.FILES:
        check_file(folder / name, overwrite)


def report(run: Run, splits: Splits, overwrite: bool = False) -> None:
    """Writes the report and the pictures of a run, and says where they lie."""
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
        histogram = None if model.prior is None else model.scheme("histogram")
        made = evaluate(model, splits, histogram, **shared)
    made.save(run.folder, overwrite)
    made.save_pictures(run.samples, overwrite)
    print(f"Pictures: {run.samples}   Report: {run.folder / 'report.html'}")
