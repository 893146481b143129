"""Which figures are compared, and where a report and a log have them.

The metrics of a kind of data and its measurements say so (`Metric.cards`, `Measurement.compared`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from smalti.comparison.outcomes import Outcome
from smalti.data import Splits
from smalti.errors import InputError
from smalti.evaluation import measurements_of
from smalti.evaluation.curves import read_curves
from smalti.modalities.base import modality_of
from smalti.run_directory import Run

__all__ = ["DISTORTION", "Place", "figures_of", "read_figures", "read_log", "without_unmeasured"]

DISTORTION = "MSE/variance"
OF_ONE_INDEX = {"usage": ("codebook", "usage"), "perplexity": ("codebook", "perplexity")}
OF_A_PRIOR = {"prior, nats per index": ("rate", "prior", "nats_per_index")}

Place = tuple[str | int, ...]
"""Where a figure is in a report; a number counts the branches that there are."""


def figures_of(splits: Splits, stages: int, prior: bool) -> dict[str, Place]:
    """Returns the place of each figure in a report, by its name; the distortion first.

    Arguments:
        splits: The data.
        stages: Indices per position.
        prior: Whether there is one.
    """
    found: dict[str, Place] = {}
    for metric in modality_of(splits.signal).metrics(splits.signal):
        for key in sorted(metric.cards, key=lambda key: key != "mse_over_variance"):
            name = DISTORTION if key == "mse_over_variance" else metric.names[key]
            unit = f", {metric.units[key]}" if key in metric.units else ""
            found[f"{name}{unit}"] = ("reconstruction", key)
    found |= OF_ONE_INDEX if stages == 1 else {}
    found |= OF_A_PRIOR if prior else {}
    for measurement in measurements_of(splits):
        for name, place in measurement.compared.items():
            found[name] = (measurement.key, *place)
    return found


def read_figures(
    report: Mapping[str, Any], wanted: Mapping[str, Place]
) -> tuple[dict[str, float], dict[str, str]]:
    """Reads figures of a report: NaN where one is missing, and why."""
    figures: dict[str, float] = {}
    missing: dict[str, str] = {}
    for name, place in wanted.items():
        branch: Any = report["figures"]
        note = "its report does not have it."
        for key in place:
            branch = _below(branch, key)
            note = branch.get("note", note) if isinstance(branch, dict) else note
        value = branch.get("value") if isinstance(branch, dict) else None
        figures[name] = math.nan if value is None else float(value)
        if value is None:
            missing[name] = note
    return figures, missing


def _below(branch: Any, key: str | int) -> Any:
    """Returns the branch of a name or a number; None if there is none."""
    if not isinstance(branch, dict):
        return None
    if isinstance(key, str):
        return branch.get(key)
    below = [one for one in branch.values() if isinstance(one, dict)]
    return below[key] if -len(below) <= key < len(below) else None


def read_log(run: Run, fitted: bool) -> tuple[float, list[tuple[int, float, float]], str]:
    """Reads the seconds and the curve of a run, and why they are missing, if they are.

    Arguments:
        run: The run.
        fitted: Whether its tokenizer was fitted without gradients, so that it has no curve.
    """
    try:
        curves = read_curves(run.curves()["tokenizer"])
        at, seconds = zip(*curves["seconds"]["train"], strict=True)
        measured = [] if fitted else curves["reconstruction"]["validation"]
    except (InputError, KeyError) as error:
        why = error if isinstance(error, InputError) else f"{run.folder} has no whole log"
        return math.nan, [], str(why)
    curve = [(step, float(np.interp(step, at, seconds)), value) for step, value in measured]
    return seconds[-1], curve, ""


def without_unmeasured(
    outcomes: Sequence[Outcome], wanted: Mapping[str, Place], sections: Iterable[str]
) -> list[Outcome]:
    """Returns the outcomes without the figures that no report has a section of.

    Such data have no such figure: of items without categories, say.

    Arguments:
        outcomes: Of all runs.
        wanted: The place of each figure.
        sections: The keys of all sections of all reports.
    """
    there = set(sections)
    none = {name for name, place in wanted.items() if place[0] not in there}

    def kept(of: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in of.items() if name not in none}

    return [
        Outcome(o.method, o.bits, o.seed, kept(o.figures), o.curve, kept(o.missing))
        for o in outcomes
    ]
