"""Draws series: originals with their reconstructions over them, and several side by side.

A channel has one scale in a whole picture, so that what is flat in one example is flat beside the
others. Gaps are breaks of the line, and shaded where an original has them.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, NullLocator
from torch import Tensor

from smalti.errors import InputError
from smalti.modalities.plots import BLUE, GREY, ORANGE, to_png
from smalti.modalities.series.signal import Series

__all__ = ["draw_pairs", "draw_series"]

PANELS = 32  # of pairs: examples times channels, or one row of examples
ROW = 4  # examples beside each other
SIDE = 6  # of those that stand alone
WIDTH = 9.0  # inches
MOST = 64  # examples that stand alone
MARGIN = 0.06  # of the range of a channel, above and below
FAINT = 0.18  # of the shade of a gap


def draw_pairs(x: Tensor, x_hat: Tensor, signal: Series) -> bytes:
    """Draws originals (B, C, T) and their reconstructions over them: the content of a PNG file.

    Each example is a column of channels, one below the other; only the first few are shown.

    Raises:
        InputError: If a value is infinite, or there is none at all.
    """
    values, made = _values(x), _values(x_hat)
    channels = values.shape[1]
    shown = min(len(values), max(ROW, PANELS // channels // ROW * ROW))
    columns = min(ROW, shown)
    groups = math.ceil(shown / columns)
    values, made = values[:shown], made[:shown]
    high = 1.0 if channels == 1 else 0.62
    drawing = Figure(figsize=(WIDTH, high * channels * groups + 0.35 * groups + 0.4))
    heights = [*[1.0] * channels, 0.45] * groups  # room below each group
    cells = drawing.add_gridspec(
        len(heights), columns, height_ratios=heights, hspace=0.12, wspace=0.08
    )
    limits = [_limits(values[:, c], made[:, c]) for c in range(channels)]
    time, unit = _time(values.shape[2], signal)
    for number in range(shown):
        group, column = divmod(number, columns)
        for c in range(channels):
            axes = drawing.add_subplot(cells[group * (channels + 1) + c, column])
            _shade(axes, time, values[number, c])
            axes.plot(time, values[number, c], color=GREY, linewidth=1.3, label="original")
            axes.plot(time, made[number, c], color=ORANGE, linewidth=0.9, label="reconstruction")
            _bare(axes, limits[c], time)
            if column == 0:
                _name(axes, signal.labels[c])
            if c == channels - 1:
                _foot(axes, unit if group == groups - 1 else "")
    drawing.legend(
        *drawing.axes[0].get_legend_handles_labels(),
        loc="upper right",
        bbox_to_anchor=(0.9, 0.88 + 0.25 / drawing.get_figheight()),
        ncols=2,
        frameon=False,
        labelcolor=GREY,
        fontsize=8,
    )
    return to_png(drawing)


def draw_series(x: Tensor, signal: Series, columns: int | None = None) -> bytes:
    """Draws series (B, C, T), the first 64, each in its own plot: the content of a PNG file.

    The channels are traces below each other; each channel has one scale in all plots.

    Raises:
        InputError: If a value is infinite, or there is none at all.
    """
    values = _values(x)[:MOST]
    n, channels, steps = values.shape
    columns = min(n, columns or (SIDE if n > ROW else ROW))
    rows = math.ceil(n / columns)
    traces = _traces(values)
    time, unit = _time(steps, signal)
    wide = WIDTH if columns > 1 else WIDTH * 0.75
    drawing = Figure(figsize=(wide, rows * min(4.0, 0.55 + 0.24 * channels) + 0.4))
    cells = drawing.add_gridspec(rows, columns, hspace=0.12, wspace=0.06)
    for number in range(n):
        row, column = divmod(number, columns)
        axes = drawing.add_subplot(cells[row, column])
        for c in range(channels):
            colour = (BLUE, ORANGE, GREY)[c % 3]
            axes.plot(time, traces[number, c] - c, color=colour, linewidth=0.9)
        _bare(axes, (-channels + 0.5 - 0.1, 0.6), time)
        if column == 0 and channels > 1:
            size = 7 if channels <= 6 else 5
            axes.set_yticks([-c for c in range(channels)], signal.labels, fontsize=size)
            axes.tick_params(axis="y", labelleft=True, colors=GREY)
        if row == rows - 1:
            _foot(axes, unit)
    return to_png(drawing)


def _traces(values: np.ndarray) -> np.ndarray:
    """Scales each channel of (n, C, T) to the height of a trace, 1."""
    whole = values.swapaxes(0, 1).reshape(values.shape[1], -1)
    low, high = np.nanmin(whole, axis=1), np.nanmax(whole, axis=1)
    spread = np.where(high > low, high - low, 1.0)
    middle = (high + low) / 2
    return (values - middle[:, None]) / spread[:, None]


def _values(x: Tensor) -> np.ndarray:
    values = x.detach().float().cpu()
    if bool(values.isinf().any()) or bool(values.isnan().all(2).all(0).any()):
        raise InputError(
            f"A picture has finite values and gaps, got infinity in {int(values.isinf().sum())} of "
            f"{values.numel()} values or a channel of gaps alone: correct what they were made from."
        )
    return values.numpy()


def _limits(*values: np.ndarray) -> tuple[float, float]:
    """Returns the ends of the scale of a channel."""
    low = min(float(np.nanmin(part)) for part in values)
    high = max(float(np.nanmax(part)) for part in values)
    room = MARGIN * (high - low) or 1.0
    return low - room, high + room


def _time(steps: int, signal: Series) -> tuple[np.ndarray, str]:
    if signal.rate is None:
        return np.arange(steps, dtype=np.float64), "step"
    return np.arange(steps) / signal.rate, "seconds"


def _shade(axes: Axes, time: np.ndarray, values: np.ndarray) -> None:
    """Shades where a channel (T,) has gaps."""
    gap = np.isnan(values)
    if not gap.any():
        return
    step = time[1] - time[0] if len(time) > 1 else 1.0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], gap.astype(np.int8), [0]])))
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        axes.axvspan(
            time[begin] - step / 2, time[end - 1] + step / 2, color=GREY, alpha=FAINT, linewidth=0
        )


def _bare(axes: Axes, limits: tuple[float, float], time: np.ndarray) -> None:
    """Takes from axes all but the lines."""
    axes.set_ylim(*limits)
    axes.set_xlim(time[0], time[-1] if len(time) > 1 else time[0] + 1)
    axes.tick_params(length=0, colors=GREY, labelsize=6, labelbottom=False, labelleft=False)
    axes.xaxis.set_major_locator(NullLocator())  # what is not seen takes half the time to draw
    axes.yaxis.set_major_locator(NullLocator())
    axes.patch.set_alpha(0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GREY)
        spine.set_alpha(0.4)


def _name(axes: Axes, name: str) -> None:
    """Writes the name of a channel beside it, and the numbers of its scale."""
    axes.set_ylabel(name[:24], rotation=0, ha="right", va="center", color=GREY, fontsize=7)
    axes.yaxis.set_label_coords(-0.14, 0.5)
    low, high = axes.get_ylim()
    ticks = [low + 0.1 * (high - low), high - 0.1 * (high - low)]
    axes.set_yticks(ticks, [_short(tick) for tick in ticks], fontsize=5)
    axes.tick_params(axis="y", labelleft=True)


def _short(value: float) -> str:
    """Writes a number of a scale: three digits, and no powers of ten for plain numbers."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"


def _foot(axes: Axes, unit: str) -> None:
    axes.xaxis.set_major_locator(AutoLocator())
    axes.tick_params(axis="x", labelbottom=True)
    if unit:
        axes.set_xlabel(unit, color=GREY, fontsize=7)
