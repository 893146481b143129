"""Reads training curves from Lightning's CSV files.

A row of such a file holds what was logged at one moment, so most cells are empty; `train/loss` and
`validation/loss` belong in one plot. A run that was interrupted has one file for each start, and a
later file replaces what an earlier one says from its own first step on.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from smalti.errors import InputError, first_line
from smalti.files import read_bytes

__all__ = ["Curve", "find_onset", "find_overfitting", "read_curves"]

LARGEST = 1 << 30  # bytes of a log
FIRST = ("loss", "reconstruction", "kl", "codebook", "commitment", "perplexity", "usage")

RISE = 0.005  # of a validation loss, relative to its lowest: less may be chance

Curve = list[tuple[int, float]]
"""Points (step, value), in the order of steps."""


def read_curves(files: Path | Sequence[Path]) -> dict[str, dict[str, Curve]]:
    """Reads the curves of one stage, by quantity and split: `curves["loss"]["validation"]`.

    Damaged lines are left out.

    Arguments:
        files: One `metrics.csv`, or several of a training that was resumed, oldest first.

    Raises:
        InputError: If none of them can be read.
    """
    curves: dict[str, dict[str, Curve]] = {}
    files = [files] if isinstance(files, Path) else files
    read: list[dict[str, Curve]] = []
    damaged: list[InputError] = []
    for file in files:
        try:
            read.append(_read(file))
        except InputError as error:
            damaged.append(error)
    if damaged and not any(read):
        raise damaged[0]
    for start in read:
        for name, points in start.items():
            split, _, quantity = name.partition("/")
            there = curves.setdefault(quantity, {}).setdefault(split, [])
            there[:] = [point for point in there if point[0] < points[0][0]] + points
    order = {quantity: place for place, quantity in enumerate(FIRST)}
    return dict(sorted(curves.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))


def find_overfitting(curve: Curve) -> tuple[int, int, float, float] | None:
    """Finds whether a stage overfitted: whether its validation loss rose again, beyond noise.

    Returns:
        The step of the lowest loss, the last step, and the two losses; `None` if it did not rise.

    Example:
        >>> find_overfitting([(499, 3.2), (999, 3.0), (1499, 3.1)])
        (1000, 1500, 3.0, 3.1)
        >>> find_overfitting([(499, 3.2), (999, 3.0), (1499, 3.001)])
    """
    finite = [point for point in curve if math.isfinite(point[1])]
    if not finite:
        return None
    best, last = min(finite, key=lambda point: point[1]), finite[-1]
    if last[1] - best[1] <= RISE * abs(best[1]):
        return None
    return best[0] + 1, last[0] + 1, best[1], last[1]  # steps are logged from 0 on


def find_onset(curve: Curve) -> int | None:
    """Finds the step at which a weight was first logged above 0, after others at 0; or `None`.

    Example:
        >>> find_onset([(19, 0.0), (39, 0.0), (59, 0.1)]), find_onset([(19, 0.1)])
        (59, None)
    """
    above = [step for step, weight in curve if weight > 0]
    return above[0] if above and curve[0][0] < above[0] else None


def _read(file: Path) -> dict[str, Curve]:
    """Reads the points of each `split/quantity` column that has any; leaves out broken rows.

    Raises:
        InputError: If there are rows and none of them can be read.
    """
    curves: dict[str, Curve] = {}
    broken = ""
    try:
        # No quantity has a line break in it, so that one broken row leaves the others whole.
        header, *rows = read_bytes(file, LARGEST).decode(errors="replace").splitlines() or [""]
        columns = next(csv.reader([header]), [])
        if rows and "step" not in columns:
            broken = "no column is called step"
    except (OSError, InputError, csv.Error) as error:
        columns, rows, broken = [], [], first_line(error)
    for row in rows if not broken else []:
        try:
            cells = dict(zip(columns, next(csv.reader([row])), strict=True))
            step = int(cells["step"])
            values = {n: float(cell) for n, cell in cells.items() if "/" in n and cell}
        except (ValueError, KeyError, StopIteration, csv.Error) as error:
            broken = first_line(error)
            continue
        for name, value in values.items() if step >= 0 else ():
            curves.setdefault(name, []).append((step, value))
    if broken and not curves:
        raise InputError(
            f"{file} is not a log of training curves ({broken}): leave it out, or train again."
        )
    return {name: sorted(points) for name, points in curves.items()}
