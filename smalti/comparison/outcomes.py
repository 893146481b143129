"""The results of a comparison: one outcome per run, the table of all, and their plots."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from matplotlib.ticker import MaxNLocator

from smalti import __version__
from smalti.comparison.methods import METHODS
from smalti.comparison.multi_codebook import MULTI_CODEBOOK_METHODS, SUMMARIES
from smalti.files import write_text
from smalti.outputs import KEY, MARK, check_file, write_file

__all__ = ["Comparison", "Outcome"]

GREY = "#828282"
COLOURS = {name: colormaps["tab20"](2 * n % 20 + n // 10) for n, name in enumerate(METHODS)}
COLOURS |= {
    name: colormaps["tab20"](2 * n % 20 + n // 10) for n, name in enumerate(MULTI_CODEBOOK_METHODS)
}


@dataclass(frozen=True)
class Outcome:
    """The figures that were measured of one method at one rate with one seed.

    Attributes:
        method: The short name of the method.
        bits: The rate: bits per index, log2 K.
        seed: The seed of the run.
        figures: The figures of the test set by name; NaN where one is missing.
        curve: (step, seconds trained, loss on the validation set), in order; empty without a log.
        missing: Why figures are missing, by name.
    """

    method: str
    bits: int
    seed: int
    figures: dict[str, float]
    curve: list[tuple[int, float, float]]
    missing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def none(cls, method: str, bits: int, seed: int, figures: Sequence[str], why: str) -> Outcome:
        """Returns an outcome without any figure."""
        return cls(
            method, bits, seed, dict.fromkeys(figures, math.nan), [], dict.fromkeys(figures, why)
        )


@dataclass(frozen=True)
class Comparison:
    """The outcomes of all methods at all rates, as a table and as plots.

    Attributes:
        title: A line that says what was compared, on which data, with which budget.
        distortion: The name of the figure that is the distortion.
        curve: The name of the loss that the curves show.
        outcomes: One outcome for every method at every rate with every seed.
        bound: Maps bits to the least distortion that is possible; None where it is not known.
        bound_name: What a table calls the bound.
    """

    title: str
    distortion: str
    curve: str
    outcomes: Sequence[Outcome]
    bound: Callable[[int], float] | None = None
    bound_name: str = "no quantizer can do better"

    @property
    def methods(self) -> list[str]:
        """Returns the names of the methods in the order in which they were asked for."""
        return list(dict.fromkeys(outcome.method for outcome in self.outcomes))

    @property
    def rates(self) -> list[int]:
        """Returns the rates in bits, in rising order."""
        return sorted({outcome.bits for outcome in self.outcomes})

    def values(self, method: str, bits: int, figure: str) -> list[float]:
        """Returns one figure of a method at a rate, a value for each seed."""
        return [outcome.figures.get(figure, math.nan) for outcome in self._of(method, bits)]

    @property
    def missing(self) -> list[str]:
        """Lists what is missing of which outcomes, and why: a line for each reason."""
        reasons: dict[str, list[str]] = {}
        for one in self.outcomes:
            of = f"{one.method}, {one.bits} bits, seed {one.seed}"
            for figure, why in one.missing.items():
                everything = not any(map(math.isfinite, one.figures.values()))
                places = reasons.setdefault(why, [])
                if (place := of if everything else f"{figure} of {of}") not in places:
                    places.append(place)
        return [f"Not measured: {'; '.join(of)}: {why}" for why, of in reasons.items()]

    def table(self) -> str:
        """Formats a Markdown table: a row for each rate and method, the least distortion
        first.
        """
        figures = list(self.outcomes[0].figures)
        seeds = len({outcome.seed for outcome in self.outcomes})
        spread = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
        lines = [f"{self.title}; {spread}.", ""]
        lines.append(f"| quantizer | bits | {' | '.join(figures)} |")
        lines.append("|---|---|" + "---|" * len(figures))
        for bits in self.rates:
            for name in sorted(
                self.methods, key=lambda name: _middle(self.values(name, bits, self.distortion))
            ):
                cells = [_spread(self.values(name, bits, figure)) for figure in figures]
                lines.append(f"| {name} | {bits} | {' | '.join(cells)} |")
            if self.bound is not None:
                least = [f"{self.bound(bits):.4g}"] + [""] * (len(figures) - 1)
                lines.append(f"| *{self.bound_name}* | {bits} | {' | '.join(least)} |")
        lines += ["", *self.missing] if self.missing else []
        return "\n".join(lines) + "\n"

    def plots(self) -> dict[str, bytes]:
        """Draws the plots, as PNG files.

        `time`: the distortion over steps and seconds at the highest rate, where any was logged;
        `bits`: over rates, where there are several.
        """
        plots = {"time": self._plot_over_time()} if self._logged else {}
        return {**plots, "bits": self._plot_over_bits()} if len(self.rates) > 1 else plots

    @staticmethod
    def check(folder: str | Path, overwrite: bool = False) -> None:
        """Checks that `save` may write its files.

        Raises:
            InputError: If a file that smalti did not write would be replaced without `overwrite`.
        """
        for name in ("comparison.json", "comparison.md", "time.png", "bits.png"):
            check_file(Path(folder) / name, overwrite)

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Writes `comparison.md`, `comparison.json` and the `plots`; see `check`."""
        self.check(folder, overwrite)
        folder = Path(folder)
        content = {
            KEY: __version__,
            "title": self.title,
            "distortion": self.distortion,
            "curve": self.curve,
            "methods": {name: SUMMARIES[name] for name in self.methods},
            "bound": {bits: self.bound(bits) for bits in self.rates} if self.bound else None,
            "outcomes": [_strict(asdict(outcome)) for outcome in self.outcomes],
        }
        plots = self.plots()
        pictures = "".join(f"\n![Distortion over {name}]({name}.png)\n" for name in plots)
        write_text(
            folder / "comparison.json", json.dumps(content, indent=2, allow_nan=False) + "\n"
        )
        write_text(folder / "comparison.md", self.table() + pictures + f"\n<!-- {MARK} -->\n")
        for name, plot in plots.items():
            write_file(plot, folder / f"{name}.png", overwrite)
        for name in {"time", "bits"} - plots.keys():  # of an earlier comparison
            (folder / f"{name}.png").unlink(missing_ok=True)

    @property
    def _logged(self) -> bool:
        """Returns whether any outcome has a curve."""
        return any(one.curve for one in self.outcomes)

    def _of(self, method: str, bits: int) -> list[Outcome]:
        return [o for o in self.outcomes if o.method == method and o.bits == bits]

    def _plot_over_time(self) -> bytes:
        """Draws the loss over steps and over seconds, at the highest rate, as a PNG."""
        bits = self.rates[-1]
        plot, (over_steps, over_seconds) = _paper(2)
        positive = True  # nats may be negative
        for name in self.methods:
            curves = _aligned([outcome.curve for outcome in self._of(name, bits)])
            if not curves.size:
                continue
            steps, seconds, values = np.moveaxis(curves, 2, 0)  # each (seeds, points)
            positive &= bool((values[np.isfinite(values)] > 0).all())
            _draw(over_steps, name, steps.mean(0), values)
            _draw(over_seconds, name, seconds.mean(0), values)
        for axes, label in ((over_steps, "step"), (over_seconds, "seconds of training")):
            axes.set_xlabel(label, color=GREY)
            if positive and axes.lines:
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter("{x:.3g}")
                axes.yaxis.set_minor_formatter("{x:.3g}")
            if self.bound is not None:
                axes.axhline(self.bound(bits), color=GREY, linestyle="--", label=self.bound_name)
        over_steps.set_ylabel(f"{self.curve}, validation, {bits} bits", color=GREY)
        return _finished(plot, over_seconds)

    def _plot_over_bits(self) -> bytes:
        """Draws the distortion on the test set over the rates, as a PNG."""
        plot, (axes,) = _paper(1)
        for name in self.methods:
            values = np.array([self.values(name, bits, self.distortion) for bits in self.rates])
            _draw(axes, name, np.array(self.rates), values.T)
        if self.bound is not None:
            least = [self.bound(bits) for bits in self.rates]
            axes.plot(
                self.rates, least, color=GREY, linestyle="--", marker="_", label=self.bound_name
            )
        axes.set_xlabel("bits per index", color=GREY)
        axes.set_ylabel(f"{self.distortion}, test", color=GREY)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return _finished(plot, axes)


def _spread(values: list[float]) -> str:
    """Formats mean ± standard deviation, to two significant digits of the latter, without NaN."""
    values = [value for value in values if not math.isnan(value)]
    if not values:
        return "–"
    middle = mean(values)
    if len(values) < 2:
        return f"{middle:.4g}"
    deviation = stdev(values)
    if deviation == 0 or not math.isfinite(deviation):
        return f"{middle:.4g} ± {deviation:.2g}"
    digits = max(0, 1 - math.floor(math.log10(deviation)))
    return f"{middle:.{digits}f} ± {deviation:.{digits}f}"


def _middle(values: list[float]) -> float:
    """Returns the mean of the figures there are; infinity for none, so that it sorts last."""
    values = [value for value in values if not math.isnan(value)]
    return mean(values) if values else math.inf


def _strict(tree: Any) -> Any:
    """Replaces numbers that are not finite by null, for strict JSON."""
    if isinstance(tree, dict):
        return {name: _strict(branch) for name, branch in tree.items()}
    if isinstance(tree, list | tuple):
        return [_strict(branch) for branch in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def _aligned(curves: Sequence[Sequence[tuple[int, float, float]]]) -> np.ndarray:
    """Returns the points (seeds, points, 3) at the steps that all curves with any points have."""
    curves = [curve for curve in curves if curve]
    shared = (
        set.intersection(*({point[0] for point in curve} for curve in curves)) if curves else {}
    )
    return np.array([[p for p in curve if p[0] in shared] for curve in curves], dtype=float)


def _draw(axes: Axes, name: str, x: np.ndarray, values: np.ndarray) -> None:
    """Draws the mean over seeds, values (seeds, points), and a band of one standard deviation."""
    values = values[np.isfinite(values).all(1)]
    if not len(values):
        return
    middle, colour = values.mean(0), COLOURS[name]
    axes.plot(x, middle, color=colour, linewidth=1.6, marker="o", markersize=3, label=name)
    if len(values) > 1:
        deviation = values.std(0, ddof=1)
        axes.fill_between(x, middle - deviation, middle + deviation, color=colour, alpha=0.18)


def _paper(panels: int) -> tuple[Plot, list[Axes]]:
    """Makes a white figure with panels that share their height, without pyplot and its global
    state.
    """
    plot = Plot(figsize=(1.6 + 4.2 * panels, 3.8), dpi=150, layout="constrained")
    row = plot.subplots(1, panels, sharey=True, squeeze=False)[0]
    for axes in row:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GREY)
        axes.tick_params(which="both", colors=GREY, labelsize=8)
        axes.grid(color=GREY, alpha=0.2, linewidth=0.6)
    return plot, list(row)


def _finished(plot: Plot, last: Axes) -> bytes:
    """Adds the legend to the right of the last panel."""
    if last.lines:
        last.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.02, 0.5))
    written = io.BytesIO()
    plot.savefig(written, format="png", metadata={"Software": MARK})
    return written.getvalue()
