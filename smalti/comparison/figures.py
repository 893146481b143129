"""Chooses the figures that are compared, and reads them from reports and logs.

The metrics of a kind of data and its measurements say so (`Metric.cards`, `Measurement.compared`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from smalti.comparison.outcomes import Outcome
from smalti.data import Splits
from smalti.errors import InputError
from smalti.evaluation import measurements_of
from smalti.evaluation.curves import read_curves
from smalti.modalities.base import modality_of
from smalti.run_directory import Run

__all__ = [
    "DISTORTION",
    "Place",
    "figure_places",
    "fill_in_names",
    "read_figures",
    "read_log",
    "rename_figures",
]

DISTORTION = "MSE/variance"
OF_ONE_INDEX = {"usage": ("codebook", "usage"), "perplexity": ("codebook", "perplexity")}
OF_A_PRIOR = {"prior, nats per index": ("rate", "prior", "nats_per_index")}

Place = tuple[str | int, ...]
"""Where a figure is in a report; a number counts the branches that there are."""


def figure_places(splits: Splits, stages: int, prior: bool) -> dict[str, Place]:
    """Returns the figures that a comparison shows, the distortion first.

    Each name maps to the place of the figure in `report.json`, a path of keys.

    Arguments:
        splits: The data.
        stages: Indices per position.
        prior: Whether the recipe has a prior, whose figures are shown too.
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
    """Reads the wanted figures of a report: their values, and why each missing one is missing.

    Arguments:
        report: The content of `report.json`.
        wanted: The place of each figure, by name.

    Returns:
        The value of each figure by name, NaN where it is missing; and the reasons by name.
    """
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
    """Reads how long a run was trained, and its validation curve, from its log.

    Returns the seconds (NaN without a log), the curve as (step, seconds, loss), and the reason why
    they are missing, empty where they are there.

    Arguments:
        run: The run.
        fitted: Whether its tokenizer was fitted without gradients, so that it has no curve.
    """
    try:
        files = run.curves()
        curves = read_curves(files["tokenizer"])
        at, seconds = zip(*curves["seconds"]["train"], strict=True)
        if "fitting" in files:
            before = read_curves(files["fitting"])["seconds"]["train"][-1][1]
            seconds = tuple(before + since for since in seconds)
        measured = [] if fitted else curves["reconstruction"]["validation"]
    except (InputError, KeyError) as error:
        why = error if isinstance(error, InputError) else f"{run.folder} has no whole log"
        return math.nan, [], str(why)
    curve = [(step, float(np.interp(step, at, seconds)), value) for step, value in measured]
    return seconds[-1], curve, ""


def fill_in_names(report: Mapping[str, Any], wanted: Mapping[str, Place]) -> dict[str, str]:
    """Fills the {} in names of figures with the keys that the report has at numbered places.

    A number in a place stands for the n-th key there, such as the first category of the data.

    Example:
        >>> report = {"figures": {"categories": {"colour": {"purity": {"value": 0.5}}}}}
        >>> fill_in_names(report, {"purity, {}": ("categories", 0, "purity")})
        {'purity, {}': 'purity, colour'}
    """
    names: dict[str, str] = {}
    for name, place in wanted.items():
        branch: Any = report["figures"]
        counted: list[str] = []
        for key in place:
            below = _below(branch, key)
            if isinstance(key, int) and below is not None:
                counted += [other for other, one in branch.items() if one is below]
            branch = below
        if name.count("{}") <= len(counted):
            names[name] = name.format(*counted)
    return names


def rename_figures(
    outcomes: Sequence[Outcome], wanted: Mapping[str, Place], reports: Sequence[Mapping[str, Any]]
) -> list[Outcome]:
    """Renames the figures of outcomes with `fill_in_names`, and drops those no report can have.

    A figure is dropped if its section is in no report, such as that of categories of data without
    categories.

    Arguments:
        outcomes: The outcomes of all runs.
        wanted: The place of each figure, by name.
        reports: The contents of the reports that exist.
    """
    sections = {key for report in reports for key in report["figures"]}
    none = {name for name, place in wanted.items() if place[0] not in sections}
    names: dict[str, str] = {}
    for report in reports:
        names = {**fill_in_names(report, wanted), **names}

    def kept(of: dict[str, Any]) -> dict[str, Any]:
        return {names.get(name, name): value for name, value in of.items() if name not in none}

    return [
        Outcome(o.method, o.bits, o.seed, kept(o.figures), o.curve, kept(o.missing))
        for o in outcomes
    ]
