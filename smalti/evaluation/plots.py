"""Draws the plots of measurements; each function returns the content of a PNG file.

Colours and greys are chosen to be read on white and on black paper.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator
from torch import Tensor

from smalti.evaluation.curves import Curve
from smalti.outputs import MARK

__all__ = ["plot_curves", "plot_dimensions", "plot_rejection", "plot_usage"]

BLUE, ORANGE, GREY = "#3f8fd0", "#e0812f", "#828282"
COLOURS = {"train": BLUE, "validation": ORANGE}
DRAWN = 4096  # codewords of a plot at most: more have no place of their own


def plot_curves(quantity: str, curves: dict[str, Curve], onset: int | None = None) -> bytes:
    """Plots a logged quantity over the optimizer's steps, one curve per split.

    Arguments:
        quantity: Its name.
        curves: The curve of each split.
        onset: The step from which on there is one more loss, which is marked.
    """
    plot, axes = _paper()
    if onset is not None:
        axes.axvline(onset, color=GREY, linewidth=1.2, linestyle="--")
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
    return _png(plot)


def plot_usage(counts: Tensor, codebook_size: int | None = None) -> bytes:
    """Plots how often each codeword was chosen, most frequent first, and the uniform frequency.

    Arguments:
        counts: The count of each codeword (K,), or of the used ones alone.
        codebook_size: K, where `counts` has the used codewords alone.
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
    return _png(plot)


def plot_rejection(
    shares: Sequence[float], accuracies: Sequence[float], distances: Sequence[float]
) -> bytes:
    """Plots accuracy and Fréchet distance of the samples that are kept, over the share kept.

    Arguments:
        shares: The shares of samples that are kept, in (0, 1].
        accuracies: The conditional accuracy at each share.
        distances: The Fréchet distance at each share.
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
    return _png(plot)


def plot_dimensions(held: Tensor, what: str) -> bytes:
    """Plots a quantity of each latent dimension, such as its KL, the largest first.

    Arguments:
        held: The quantity of each dimension (D,).
        what: The name and unit of the quantity.
    """
    plot, axes = _paper()
    ordered = np.sort(held.double().cpu().numpy())[::-1]
    axes.bar(np.arange(1, len(ordered) + 1), ordered, color=BLUE, width=0.85)
    axes.set_title(what, color=GREY, fontsize=10, loc="left")
    axes.set_xlabel("latent dimensions, the largest first", color=GREY, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylim(bottom=0)
    return _png(plot)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Returns the running mean over a fiftieth of a long curve; a short one as it is."""
    window = len(values) // 50
    if window < 3 or not np.isfinite(values).all():
        return values
    window += 1 - window % 2
    padded = np.pad(values, window // 2, mode="edge")
    return np.convolve(padded, np.full(window, 1 / window), mode="valid")


def _paper() -> tuple[Plot, Axes]:
    """Makes an empty plot on transparent paper, without pyplot and its global state."""
    plot = Plot(figsize=(3.7, 2.3), dpi=200, layout="constrained")
    axes = plot.add_subplot()
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(which="both", colors=GREY, labelsize=9)
    axes.grid(color=GREY, alpha=0.2, linewidth=0.6)
    return plot, axes


def _png(plot: Plot) -> bytes:
    """Returns the content of a PNG file whose only text in its metadata names smalti."""
    buffer = io.BytesIO()
    plot.savefig(
        buffer,
        format="png",
        transparent=True,
        metadata={"Software": MARK},
        pil_kwargs={"dpi": None},
    )
    return buffer.getvalue()
