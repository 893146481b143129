"""Draws vectors as heat maps, a colour for each value.

Blue is below zero, red above, and white zero; grey and the colours are read on white and on black
paper. Beside pairs of a vector and its reconstruction stands how close they are.
"""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from smalti.errors import InputError
from smalti.modalities.plots import GREY, to_png

__all__ = ["PAIRS", "SHOWN", "draw_pairs", "draw_rows"]

COLOURS = "RdBu_r"
WIDTH, ROW = 8.0, 0.16  # inches
SHOWN = 16  # vectors of a picture at most
PAIRS = 8  # pairs at most
SPREAD = 0.98  # share of the values that the colours tell apart


def draw_rows(x: Tensor) -> bytes:
    """Draws vectors (n, d) as a heat map, the first 16, one per row: the content of a PNG file.

    Raises:
        InputError: If a value is not finite.
    """
    values = _values(x)[:SHOWN]
    drawing, axes = _paper(len(values))
    shown = _heat(axes, values)
    axes.set_yticks([])
    axes.set_ylabel(f"{len(values)} vectors" if len(values) > 1 else "", color=GREY, fontsize=8)
    _finish(drawing, axes, shown)
    return to_png(drawing)


def draw_pairs(x: Tensor, x_hat: Tensor) -> bytes:
    """Draws vectors above their reconstructions as heat maps, both (n, d), the first 8 pairs.

    Beside each pair is its cosine. Returns the content of a PNG file.
    """
    values, made = _values(x)[:PAIRS], _values(x_hat)[:PAIRS]
    n, d = values.shape
    rows = np.full((3 * n - 1, d), np.nan, dtype=np.float32)  # a gap below each pair
    rows[0::3], rows[1::3] = values, made
    drawing, axes = _paper(len(rows))
    shown = _heat(axes, rows)
    cosines = F.cosine_similarity(torch.from_numpy(values), torch.from_numpy(made), dim=1)
    axes.set_yticks([3 * i + row for i in range(n) for row in (0, 1)], ["x", "x̂"] * n, fontsize=7)
    right = axes.secondary_yaxis("right")
    right.set_yticks([3 * i + 0.5 for i in range(n)], [f"{c:.2f}" for c in cosines], fontsize=7)
    axes.set_title("cosine", color=GREY, fontsize=8, loc="right")
    right.tick_params(length=0, colors=GREY)
    right.spines["right"].set_visible(False)
    _finish(drawing, axes, shown)
    return to_png(drawing)


def _values(x: Tensor) -> np.ndarray:
    values = x.detach().float().cpu()
    if not bool(values.isfinite().all()):
        raise InputError(
            f"A picture has finite values, got NaN or infinity in "
            f"{int((~values.isfinite()).sum())} of {values.numel()}: correct what they were made "
            f"from."
        )
    return values.numpy()


def _paper(rows: int) -> tuple[Figure, Axes]:
    drawing = Figure(figsize=(WIDTH, ROW * max(4, rows) + 0.8))
    return drawing, drawing.add_subplot()


def _heat(axes: Axes, rows: np.ndarray) -> object:
    """Draws rows (n, d), the same colours for all; NaN is left clear."""
    sizes = np.abs(rows[np.isfinite(rows)])
    most = float(np.quantile(sizes, SPREAD)) if sizes.size else 0.0
    most = most or float(sizes.max(initial=0.0)) or 1.0
    return axes.imshow(
        rows, cmap=COLOURS, vmin=-most, vmax=most, aspect="auto", interpolation="nearest"
    )


def _finish(drawing: Figure, axes: Axes, shown: object) -> None:
    axes.set_xlabel("dimension", color=GREY, fontsize=8)
    axes.tick_params(length=0, colors=GREY, labelsize=7)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = drawing.colorbar(shown, ax=axes, fraction=0.03, pad=0.08, shrink=0.8, extend="both")  # type: ignore[arg-type]
    bar.ax.tick_params(length=0, colors=GREY, labelsize=7)
    bar.outline.set_visible(False)
