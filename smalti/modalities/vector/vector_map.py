"""Plots a map of the items by PCA, coloured by codes and categories.

y = (x − m) (v_1, v_2)        v_1, v_2 the first eigenvectors of the covariance of the items drawn
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from smalti.ids import level_letters
from smalti.modalities.plots import GREY, to_png
from smalti.modalities.vector.prefixes import read_vectors_at, why_no_codes
from smalti.reporting import Block, Measurement, Plot, Section, SideBySide, Subject
from smalti.reporting.figures import number

__all__ = ["VectorMap", "principal_plane"]

ITEMS = 4000  # items of a map at most
CATEGORIES = 5  # maps of categories at most
INSIDE = 0.005  # share of the items beyond each edge, which are drawn at the edge
NAMED = 9  # values with a colour of their own
COLOURS = "tab10"


class VectorMap(Measurement[Subject]):
    """Plots items in the plane of their two principal directions (PCA), coloured by first code.

    There is a further plot coloured by each category.
    """

    key: ClassVar[str] = "map"
    title: ClassVar[str] = "Map"
    chapter: ClassVar[str] = "Map"
    file_names: ClassVar[str] = r"map-\w+"

    def applies(self, subject: Subject) -> str | None:
        """See `Measurement.applies`."""
        return why_no_codes(subject)

    def run(self, subject: Subject) -> Section:
        """See `Measurement.run`."""
        section = self.section()
        n = len(subject.codes)
        draw = torch.Generator().manual_seed(subject.seed)
        rows = torch.randperm(n, generator=draw)[:ITEMS].sort().values.numpy()
        points, explained = principal_plane(read_vectors_at(subject, rows))
        first = subject.codes[rows, 0].numpy()
        names = {int(code): f"{level_letters(0)}_{code}" for code in np.unique(first)}
        plots: dict[str, Block] = {"code": _plot(points, first, names, "first code")}
        titles = {"code": "First code"}
        items, manifest = subject.splits.items, subject.splits.manifest
        if items is not None and manifest is not None and items.categories:
            own = items.rows(manifest)[rows]
            for place, (name, category) in enumerate([*items.categories.items()][:CATEGORIES]):
                values = category.take(own).codes
                plots[f"category{place}"] = _plot(
                    points, values, dict(enumerate(category.names)), name
                )
                titles[f"category{place}"] = name
        drawn = "all items" if len(rows) == n else f"{number(len(rows))} of {number(n)} items"
        section.blocks["map"] = SideBySide(plots, titles)
        section.facts["Map"] = (
            f"{drawn} in the plane of their largest variance, which is "
            f"{100 * explained:.0f} % of the whole"
        )
        return section


def principal_plane(x: Tensor) -> tuple[np.ndarray, float]:
    """Projects vectors (n, d) on their first two principal directions.

    Returns:
        Points (n, 2), and the share of the variance that lies in this plane.

    Example:
        >>> x = torch.tensor([[3.0, 0.0, 0.0], [-3.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
        >>> points, share = principal_plane(x)
        >>> points.shape, round(share, 6)
        ((4, 2), 1.0)
    """
    around = x.double() - x.double().mean(0)
    variances, directions = torch.linalg.eigh(around.T @ around / max(1, len(x)))
    plane = directions.flip(1)[:, :2]
    whole = variances.clamp(min=0).sum().item()
    share = variances[-2:].clamp(min=0).sum().item() / whole if whole > 0 else 1.0
    points = torch.zeros(len(x), 2, dtype=torch.float64)
    points[:, : plane.shape[1]] = around @ plane
    return points.numpy(), share


def _plot(points: np.ndarray, values: np.ndarray, names: dict[int, str], what: str) -> Plot:
    """Plots points, the most frequent values in colours of their own."""
    points = points.clip(*np.quantile(points, [INSIDE, 1 - INSIDE], axis=0))
    drawing = Figure(figsize=(5.4, 3.9))
    axes = drawing.add_axes((0.01, 0.02, 0.69, 0.96))  # alike in all maps, whatever the legend
    found, times = np.unique(values[values >= 0], return_counts=True)
    often = found[np.argsort(-times, kind="stable")][:NAMED]
    others = ~np.isin(values, often)
    axes.scatter(points[others, 0], points[others, 1], s=3, color=GREY, alpha=0.25, linewidths=0)
    colours = colormaps[COLOURS]
    for place, value in enumerate(often.tolist()):
        mine = values == value
        colour = colours(place if place < 7 else place + 1)  # not grey
        label = names[value] if len(names[value]) < 19 else f"{names[value][:18]}…"
        x, y = points[mine].T
        axes.scatter(x, y, s=5, color=colour, alpha=0.7, linewidths=0, label=label)
    axes.legend(
        frameon=False, labelcolor=GREY, fontsize=9, markerscale=4, loc="upper left",
        bbox_to_anchor=(1.0, 1.0), handletextpad=0.2,
    )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(GREY)
        spine.set_alpha(0.4)
    rest = len(found) - len(often)
    told = f"; grey: {number(rest)} others" if rest > 0 else ""
    return Plot(
        to_png(drawing, cropped=False), f"Coloured by {what}, the most frequent values{told}."
    )
