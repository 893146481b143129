"""Training curves: read from Lightning's CSV files, drawn one small plot a quantity.

A row of such a file holds what was logged at one moment, so most cells are empty; `train/loss` and
`validation/loss` belong in one plot. A run that was interrupted has one file for each start, and a
later file replaces what an earlier one says from its own first step on. Colours and greys are
chosen to be read on white and on black paper.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image
from torch import Tensor

from smalti.errors import InputError, first_line
from smalti.files import read_bytes

__all__ = [
    "Curve",
    "overfitted",
    "plot_curves",
    "plot_dimensions",
    "plot_rejection",
    "plot_usage",
    "read_curves",
]

BLUE, ORANGE, GREY = "#3f8fd0", "#e0812f", "#828282"
COLOURS = {"train": BLUE, "validation": ORANGE}
LARGEST = 1 << 30  # bytes of a log
FIRST = ("loss", "reconstruction", "kl", "codebook", "commitment", "perplexity", "usage")

RISE = 0.005  # of a validation loss, relative to its lowest: less may be chance
DRAWN = 4096  # codewords of a plot at most: more have no pixel of their own

Curve = list[tuple[int, float]]
"""Points (step, value), in the order of steps."""


def read_curves(files: Path | Sequence[Path]) -> dict[str, dict[str, Curve]]:
    """The curves of one stage by quantity and split, e.g. `curves["loss"]["validation"]`.

    What is damaged in them is left out.

    Arguments:
        files: One `metrics.csv`, or those of several starts in their order.

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


def overfitted(curve: Curve) -> tuple[int, int, float, float] | None:
    """Returns the step of the lowest validation loss if it rose from there by more than chance.

    Returns:
        The step of the lowest loss, the last step, and the two losses; `None` if it did not rise.

    Example:
        >>> overfitted([(499, 3.2), (999, 3.0), (1499, 3.1)])
        (1000, 1500, 3.0, 3.1)
        >>> overfitted([(499, 3.2), (999, 3.0), (1499, 3.001)])
    """
    finite = [point for point in curve if math.isfinite(point[1])]
    if not finite:
        return None
    best, last = min(finite, key=lambda point: point[1]), finite[-1]
    if last[1] - best[1] <= RISE * abs(best[1]):
        return None
    return best[0] + 1, last[0] + 1, best[1], last[1]  # steps are logged from 0 on


def plot_curves(quantity: str, curves: dict[str, Curve]) -> Image.Image:
    """One quantity over the optimizer's steps."""
    plot, axes = _paper()
    for split, points in curves.items():
        steps, values = (np.array(column, dtype=float) for column in zip(*points, strict=True))
        colour = COLOURS.get(split, GREY)
        smooth = _smoothed(values)
        if smooth is not values:
            axes.plot(steps, values, color=colour, alpha=0.3, linewidth=0.8)
        axes.plot(
            steps,
            smooth,
            color=colour,
            linewidth=1.8,
            label=split,
            marker="o" if len(points) == 1 else None,
        )
    seen = [value for points in curves.values() for _, value in points if math.isfinite(value)]
    if seen and 0 < 8 * min(seen) < max(seen):
        axes.set_yscale("log")
        subs = (1, 2, 5) if max(seen) < 200 * min(seen) else (1,)
        axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=6))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_title(quantity, color=GREY, fontsize=10, loc="left")
    axes.set_xlabel("step", color=GREY, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.legend(frameon=False, labelcolor=GREY, fontsize=9)
    return _image(plot)


def plot_usage(counts: Tensor, codebook_size: int | None = None) -> Image.Image:
    """How often each codeword was chosen, the most frequent first, against all equally often.

    Arguments:
        counts: (K,), or of the codewords that were chosen alone.
        codebook_size: K, where there are counts of fewer.
    """
    plot, axes = _paper()
    size = codebook_size or len(counts)
    counts = counts[counts > 0] if len(counts) > DRAWN else counts
    ordered = np.sort(counts.double().cpu().numpy())[::-1] / max(1, int(counts.sum()))
    places = np.unique(np.linspace(0, max(0, len(ordered) - 1), DRAWN).round().astype(int))
    places = places[places < len(ordered)]
    axes.fill_between(places, ordered[places], step="mid", color=BLUE, alpha=0.75)
    axes.axhline(1 / size, color=ORANGE, linewidth=1.5, linestyle="--")
    axes.text(
        max(0, len(ordered) - 1), 1 / size, "all equally often ", color=ORANGE, fontsize=9,
        ha="right", va="bottom",
    )  # fmt: skip
    axes.set_title("share of all indices", color=GREY, fontsize=10, loc="left")
    axes.set_xlabel("codewords, the most frequent first", color=GREY, fontsize=9)
    axes.set_xlim(0, max(1, len(ordered) - 1))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    return _image(plot)


def plot_rejection(
    shares: Sequence[float], accuracies: Sequence[float], distances: Sequence[float]
) -> Image.Image:
    """Accuracy and Fréchet distance of the samples that are kept, over the share kept.

    Arguments:
        shares: Kept, in (0, 1].
        accuracies: Shares that show their label, one for each.
        distances: Fréchet distances, one for each.
    """
    plot, axes = _paper()
    axes.plot(shares, accuracies, color=BLUE, marker="o")
    title = "right label (blue), Fréchet distance (orange)"
    axes.set_title(title, color=GREY, fontsize=10, loc="left")
    axes.set_xlabel("share of the samples kept", color=GREY, fontsize=9)
    axes.set_ylim(0, 1)
    axes.set_xlim(1.05, 0)  # fewer and fewer to the right
    other = axes.twinx()
    other.plot(shares, distances, color=ORANGE, marker="o")
    other.set_ylim(bottom=0)
    other.tick_params(colors=GREY, labelsize=9)
    return _image(plot)


def plot_dimensions(held: Tensor, what: str) -> Image.Image:
    """What each latent dimension holds, the largest first.

    Arguments:
        held: (D,).
        what: It is, with its unit.
    """
    plot, axes = _paper()
    ordered = np.sort(held.double().cpu().numpy())[::-1]
    axes.bar(np.arange(1, len(ordered) + 1), ordered, color=BLUE, width=0.85)
    axes.set_title(what, color=GREY, fontsize=10, loc="left")
    axes.set_xlabel("latent dimensions, the largest first", color=GREY, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylim(bottom=0)
    return _image(plot)


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


def _smoothed(values: np.ndarray) -> np.ndarray:
    """The running mean over a fiftieth of a long curve; a short one as it is."""
    window = len(values) // 50
    if window < 3 or not np.isfinite(values).all():
        return values
    window += 1 - window % 2
    padded = np.pad(values, window // 2, mode="edge")
    return np.convolve(padded, np.full(window, 1 / window), mode="valid")


def _paper() -> tuple[Plot, Axes]:
    """An empty plot on transparent paper, without pyplot and its global state."""
    plot = Plot(figsize=(3.7, 2.3), dpi=200, layout="constrained")
    axes = plot.add_subplot()
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(which="both", colors=GREY, labelsize=9)
    axes.grid(color=GREY, alpha=0.2, linewidth=0.6)
    return plot, axes


def _image(plot: Plot) -> Image.Image:
    buffer = io.BytesIO()
    plot.savefig(buffer, format="png", transparent=True, metadata={"Software": None})
    return Image.open(buffer)
