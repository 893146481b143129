"""Errors and power spectra of reconstructed series, channel by channel.

The power spectrum of a channel is the mean over windows of

    P(f) = |Σ_t w(t) (x(t) − m) exp(−2πi f t)|² / Σ_t w(t)²         w: Hann's window, m: its mean

Where a tokenizer loses what is fast, the spectrum of its reconstructions falls below that of the
originals at high frequencies: which share of the power they have is a figure, for an eighth of the
frequencies, the slow ones, those up to half, and the fast ones, where the originals have any to
speak of. Windows of a channel with a gap in it are left out there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure as Drawing
from torch import Tensor

from smalti.errors import InputError
from smalti.modalities.plots import BLUE, GREY, ORANGE, to_png
from smalti.modalities.series.metrics import ChannelErrors
from smalti.modalities.series.signal import Series
from smalti.reporting.blocks import Picture, Table
from smalti.reporting.figures import Figure, figure, protocols, undefined_figure
from smalti.reporting.measurement import Measurement, Subject
from smalti.reporting.section import Section

__all__ = ["ByChannel", "Spectra", "Spectrum", "power_kept"]

SHOWN = 12  # channels that are drawn
COLUMNS = 3
NO_SERIES = "the data are no series."
NEGLIGIBLE = 1e-3  # of the power of a channel, in a band
NO_POWER = "the channel has hardly any power there, or is never whole"
BANDS = {"slow": (0.0, 1 / 8), "middle": (1 / 8, 1 / 2), "fast": (1 / 2, 1.0)}  # of half the rate


class ByChannel(Measurement[Subject]):
    """Measures MSE and MSE/variance of reconstructions for each channel."""

    key: ClassVar[str] = "channels"
    title: ClassVar[str] = "Channel by channel"
    chapter: ClassVar[str] = "Reconstructions"

    def applies(self, subject: Subject) -> str | None:
        """See `Measurement.applies`."""
        return None if isinstance(subject.splits.signal, Series) else NO_SERIES

    def run(self, subject: Subject) -> Section:
        """See `Measurement.run`."""
        section, signal = self.section(), subject.splits.signal
        errors = ChannelErrors()
        for x, x_hat in _pairs(subject):
            errors.update(x, x_hat)
        rows: dict[str, tuple[Figure, ...]] = {}
        protocol = f"{subject.test_set}; gaps left out"
        share: dict[str, Figure] = {}
        mse: dict[str, Figure] = {}
        section.figures = {"mse_over_variance": share, "mse": mse}
        measured = zip(signal.labels, errors.mse.tolist(), errors.variance.tolist(), strict=True)
        for name, error, variance in measured:
            over = f"{protocol}; the MSE of the channel over its variance in this set"
            share[name] = (
                figure(error / variance, "", over)
                if variance > 0
                else undefined_figure("", over, "the channel is constant there, or a gap")
            )
            what = f"{protocol}; in the units of the data"
            mse[name] = (
                undefined_figure("", what, "it has no value there")
                if math.isnan(error)
                else figure(error, "", what)
            )
            rows[name] = (share[name], mse[name])
        section.blocks["channels"] = Table(
            ("Channel", "MSE / variance", "MSE"), rows, None, protocols(section.figures)
        )
        return section


class Spectrum(Measurement[Subject]):
    """Plots the power spectra of originals, reconstructions and samples."""

    key: ClassVar[str] = "spectrum"
    title: ClassVar[str] = "Power spectrum"
    chapter: ClassVar[str] = "Reconstructions"
    file_names: ClassVar[str] = r"spectrum"

    def applies(self, subject: Subject) -> str | None:
        """See `Measurement.applies`."""
        if not isinstance(subject.splits.signal, Series):
            return NO_SERIES
        steps = subject.splits.signal.size[0]
        return None if steps >= 16 else f"windows of {steps} steps are too short for one."

    def run(self, subject: Subject) -> Section:
        """See `Measurement.run`."""
        section, signal = self.section(), subject.splits.signal
        originals, made = Spectra(), Spectra()
        for x, x_hat in _pairs(subject):
            gap = x.isnan()
            originals.update(x)
            made.update(torch.where(gap, torch.nan, x_hat))  # of the same windows
        if not bool(originals.counts.any()):
            raise InputError(f"every test {signal.noun} has gaps in all channels.")
        spectra = {"test": originals, "reconstructions": made}
        sets = subject.sets()
        if "prior" in sets:
            with section.attempt(f"Spectrum of {subject.words['prior']}"):
                spectra["prior"] = Spectra.of(sets["prior"]())
        unit, rate = ("Hz", signal.rate) if signal.rate else ("cycles a step", 1.0)
        shares = power_kept(originals.power, made.power)
        kept: dict[str, dict[str, Figure]] = {}
        for band, (low, high) in BANDS.items():
            protocol = (
                f"{subject.test_set}, windows without a gap in the channel; power of "
                f"reconstructions over that of originals, {low * rate / 2:.3g} to "
                f"{high * rate / 2:.3g} {unit}"
            )
            kept[band] = {
                name: undefined_figure("share", protocol, NO_POWER)
                if math.isnan(share)
                else figure(share, "share", protocol)
                for name, share in zip(signal.labels, shares[band], strict=True)
            }
        section.figures = kept
        section.blocks["spectrum"] = Picture(
            _draw(spectra, signal, rate, unit),
            f"Power by frequency ({unit}): test series, their reconstructions"
            + (", and samples of the learned prior." if "prior" in spectra else "."),
        )
        section.blocks["kept"] = Table(
            ("Channel", *(f"Power kept, {band}" for band in BANDS)),
            {name: tuple(kept[band][name] for band in BANDS) for name in signal.labels},
            None,
            protocols(section.figures),
        )
        return section


class Spectra:
    """Accumulates the mean power spectrum of each channel, batch by batch.

    Example:
        >>> wave = torch.sin(2 * torch.pi * 4 * torch.arange(32) / 32)
        >>> spectra = Spectra.of([wave[None, None]])
        >>> int(spectra.power[0].argmax())
        4
    """

    def __init__(self) -> None:
        self.sums = torch.zeros(0)
        self.counts = torch.zeros(0)

    @classmethod
    def of(cls, batches: Iterable[Tensor]) -> Spectra:
        """Measures batches (B, C, T)."""
        made = cls()
        for x in batches:
            made.update(x)
        return made

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Adds a batch x (B, C, T), NaN in gaps."""
        x = x.double().cpu()
        whole = ~x.isnan().any(2)  # (B, C)
        x = torch.where(whole[..., None], x, 0.0)
        window = torch.hann_window(x.shape[2], dtype=torch.float64)
        x = x - x[..., :1]  # first, so that what is constant has a power of exactly 0
        around = (x - x.mean(2, keepdim=True)) * window
        power = torch.fft.rfft(around).abs().square() / window.square().sum()
        if not len(self.counts):
            self.sums = torch.zeros(power.shape[1:], dtype=torch.float64)
            self.counts = torch.zeros(power.shape[1], dtype=torch.float64)
        self.sums = self.sums + (power * whole[..., None]).sum(0)
        self.counts = self.counts + whole.sum(0)

    @property
    def power(self) -> Tensor:
        """Returns the power (C, T // 2 + 1); NaN for a channel without a window.

        Raises:
            InputError: If nothing was taken in.
        """
        if not len(self.counts):
            raise InputError("there is no series to measure.")
        return self.sums / self.counts[:, None]


def _pairs(subject: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields test series and their reconstructions."""
    start = 0
    for x in subject.test_batches():
        chosen = torch.arange(start, start + len(x))
        start += len(x)
        yield x, torch.cat(list(subject.reconstructed(chosen)))


def power_kept(x: Tensor, x_hat: Tensor) -> dict[str, list[float]]:
    """Returns the power x_hat over x, both (C, F), of each channel in each band.

    It is NaN where x has less than a thousandth of its power in the band: how many times nearly
    nothing there is of it says nothing. The lowest frequency, that of the mean, is in none.
    """
    places = torch.arange(x.shape[1]) / (x.shape[1] - 1)
    shares = {}
    for band, (low, high) in BANDS.items():
        inside = (places > low) & (places <= high)
        power, made = x[:, inside].sum(1), x_hat[:, inside].sum(1)
        enough = (power > 0) & (power >= NEGLIGIBLE * x[:, 1:].sum(1))
        shares[band] = torch.where(enough, made / power, torch.nan).tolist()
    return shares


def _draw(spectra: Mapping[str, Spectra], signal: Series, rate: float, unit: str) -> bytes:
    """Draws the spectra of the first channels."""
    lines = {
        "test": ("test series", GREY, 1.8),
        "reconstructions": ("reconstructions", ORANGE, 1.1),
        "prior": ("samples", BLUE, 1.1),
    }
    channels = min(SHOWN, signal.channels)
    columns = min(COLUMNS, channels)
    rows = math.ceil(channels / columns)
    drawing = Drawing(figsize=(3.2 * columns + 0.6, 2.1 * rows + 0.5))
    cells = drawing.add_gridspec(rows, columns, hspace=0.55, wspace=0.28)
    for c in range(channels):
        axes = drawing.add_subplot(cells[c // columns, c % columns])
        for key, spectrum in spectra.items():
            name, colour, width = lines[key]
            power = spectrum.power[c, 1:]
            frequency = torch.arange(1, len(power) + 1) * rate / (2 * len(power))
            positive = power > 0
            axes.plot(frequency[positive], power[positive], color=colour, lw=width, label=name)
        if bool((spectra["test"].power[c, 1:] > 0).any()):
            axes.set_yscale("log")
        axes.set_title(signal.labels[c][:30], color=GREY, fontsize=10, loc="left")
        axes.tick_params(which="both", length=2, colors=GREY, labelsize=8)
        axes.patch.set_alpha(0)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(GREY)
        if c // columns == rows - 1:
            axes.set_xlabel(unit, color=GREY, fontsize=9)
        if c == 0:
            axes.legend(frameon=False, labelcolor=GREY, fontsize=8)
    return to_png(drawing)
