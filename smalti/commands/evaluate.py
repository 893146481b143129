"""`smalti evaluate`: measures a run and writes its report."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smalti.commands.common import call_with_options, data_path_or_name
from smalti.data import Splits
from smalti.errors import InputError
from smalti.evaluation import Limits, Report, report_file_pattern
from smalti.files import read_bytes
from smalti.generation import load
from smalti.outputs import KEY, check_file, check_writable, is_unmarked_png
from smalti.run_recipe import recipe_of
from smalti.runs import Run, load_run_data, part_checksums

__all__ = ["check_report_output", "write_report", "run"]


def run(words: Sequence[str]) -> int:
    """Parses the command line and calls `evaluate`; returns the exit status."""
    return call_with_options(evaluate, words, "folder")


def evaluate(
    folder: str,
    *,
    data: str | None = None,
    overwrite: bool = False,
    changed_data: str = "refuse",
) -> int:
    """Measures a run on its test set and writes report.html, report.json and samples/.

    Arguments:
        folder: The run directory.
        data: Where its data lie now, if they were moved; smalti fit with --data notes it for good.
        overwrite: Replace what smalti did not write, too.
        changed_data: Where the data are not those that the run was made from: refuse, or ignore, to
            measure on those alone.
    """
    finished = Run.existing(folder)
    check_report_output(finished.folder, overwrite)
    return write_report(
        finished, load_run_data(finished, changed_data, data_path_or_name(data)), overwrite
    )


def check_report_output(folder: Path, overwrite: bool) -> None:
    """Raises an error, before anything is measured, if the report cannot be written.

    Raises:
        InputError: If they would replace files that smalti did not write.
        OSError: If they cannot be written there.
    """
    check_writable(folder / Report.FILES[0])
    for name in Report.FILES:
        check_file(folder / name, overwrite)
    samples = Run(folder).samples
    if not samples.exists():
        return
    if not samples.is_dir():
        raise InputError(f"{samples} is a file, and the pictures go to a folder of it: move it.")
    check_writable(samples / "file")
    before_marks = has_unmarked_pictures(folder)
    names = report_file_pattern()
    for file in samples.iterdir():
        if names.fullmatch(file.name):
            check_file(file, overwrite or (before_marks and is_unmarked_png(file)))


def has_unmarked_pictures(folder: Path) -> bool:
    """Returns whether a run's pictures may be from a version that did not mark its files yet.

    Such a version wrote no manifest of the data, which a fit may have added since, and did not say
    in its report of what data it is.
    """
    run = Run(folder)
    if not run.config.is_file():
        return False
    if not run.data.exists():
        return True
    try:
        content = json.loads(read_bytes(folder / "report.json"))
        return KEY in content and "data" not in content.get("made_from", {})
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def write_report(run: Run, splits: Splits, overwrite: bool = False) -> int:
    """Measures a run, writes its report and pictures, and prints where they are.

    Returns:
        The exit status: 1 if a measurement failed by an unexpected error, else 0.
    """
    recipe = recipe_of(run)
    model = load(run.folder).to(recipe.hardware.device())
    chosen = recipe.evaluation
    limits = Limits(
        chosen.test,
        chosen.samples,
        chosen.classifier_steps,
        chosen.feature_steps,
        judge_steps=chosen.judge_steps,
    )
    shared: dict[str, Any] = {
        "curves": run.curves(),
        "limits": limits,
        "seed": recipe.seed,
        "title": run.folder.name,
    }
    made = model.evaluate(splits, **shared)
    made.made_from = part_checksums(run)
    # The pictures first: it is by the report that those of an earlier version are known.
    made.save_pictures(run.samples, overwrite or has_unmarked_pictures(run.folder))
    made.save(run.folder, overwrite)
    print(f"Pictures: {run.samples}   Report: {run.folder / 'report.html'}")
    if made.failed:
        print(
            f"smalti: the report is whole but for {', '.join(made.failed)}: see above why, and "
            f"report it as a fault of smalti's",
            file=sys.stderr,
        )
    return int(bool(made.failed))
