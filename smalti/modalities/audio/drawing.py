"""Draws sounds: their spectrograms, each with its waveform above.

|STFT| of Hann windows of about 32 ms (a power of two samples), a quarter apart, in decibels
below the loudest of the whole picture; 80 dB are shown
"""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from smalti.errors import InputError
from smalti.modalities.audio.signal import Sound
from smalti.modalities.plots import BLUE, GREY, ORANGE, to_png

__all__ = ["MOST", "PAIRS", "draw_pairs", "draw_sounds", "spectrogram"]

MOST = 32  # sounds in a picture
PAIRS = 8
ROW = 4  # beside each other
WIDTH = 9.0  # inches
WINDOW = 0.032  # s
DEPTH = 80.0  # dB
COLUMNS = 400  # of a spectrogram in a picture, at most; of more the loudest is shown


def spectrogram(x: Tensor, rate: int) -> np.ndarray:
    """Returns the power of sounds (B, C, T) in decibels, the mean of channels: (B, F, frames).

    Example:
        >>> x = torch.sin(torch.arange(8000) * 2 * torch.pi * 1000 / 8000)[None, None]
        >>> int(spectrogram(x, 8000)[0, :, 30].argmax()) * 8000 / 256
        1000.0
    """
    window = 1 << max(5, round(math.log2(WINDOW * rate)))
    mono = x.detach().float().cpu().mean(1)
    if mono.shape[1] < window:
        mono = torch.nn.functional.pad(mono, (0, window - mono.shape[1]))
    hann = torch.hann_window(window)
    hop = max(window // 4, mono.shape[1] // (4 * COLUMNS))
    stft = torch.stft(mono, window, hop, window=hann, return_complex=True, pad_mode="constant")
    power = stft.abs().square() / hann.sum() ** 2 * 4
    return 10 * power.clamp(min=1e-12).log10().numpy()


def draw_sounds(x: Tensor, signal: Sound, columns: int | None = None) -> bytes:
    """Draws sounds (B, C, T), the first 32, each with its spectrogram: the content of a PNG file.

    Raises:
        InputError: If a value is not finite.
    """
    x = _checked(x)[:MOST]
    columns = min(len(x), columns or ROW)
    rows = math.ceil(len(x) / columns)
    wide = WIDTH if columns > 1 else WIDTH * 0.6
    drawing = Figure(figsize=(wide, 1.5 * rows + 0.3))
    cells = drawing.add_gridspec(
        3 * rows, columns, height_ratios=[0.5, 1.0, 0.3] * rows, hspace=0.04, wspace=0.06
    )
    power = spectrogram(x, signal.rate)
    loudest = float(power.max())
    for number in range(len(x)):
        row, column = divmod(number, columns)
        _draw_wave(drawing.add_subplot(cells[3 * row, column]), x[number], BLUE)
        axes = drawing.add_subplot(cells[3 * row + 1, column])
        _draw_power(axes, power[number], loudest, signal, x.shape[2], row == rows - 1, column == 0)
    return to_png(drawing)


def draw_pairs(x: Tensor, x_hat: Tensor, signal: Sound) -> bytes:
    """Draws sounds and their reconstructions (B, C, T), the first 8 pairs: the content of a PNG.

    The spectrogram of each original is above that of its reconstruction.

    Raises:
        InputError: If a value is not finite.
    """
    x, x_hat = _checked(x)[:PAIRS], _checked(x_hat)[:PAIRS]
    columns = min(len(x), ROW)
    rows = math.ceil(len(x) / columns)
    drawing = Figure(figsize=(WIDTH if columns > 1 else WIDTH * 0.6, 2.6 * rows + 0.3))
    cells = drawing.add_gridspec(
        4 * rows, columns, height_ratios=[0.5, 1.0, 1.0, 0.35] * rows, hspace=0.05, wspace=0.06
    )
    power = spectrogram(x, signal.rate), spectrogram(x_hat, signal.rate)
    loudest = float(max(part.max() for part in power))
    for number in range(len(x)):
        row, column = divmod(number, columns)
        wave = drawing.add_subplot(cells[4 * row, column])
        _draw_wave(wave, x[number], GREY)
        _draw_wave(wave, x_hat[number], ORANGE)
        for below, part in enumerate(power):
            axes = drawing.add_subplot(cells[4 * row + 1 + below, column])
            foot = below == 1 and row == rows - 1
            _draw_power(axes, part[number], loudest, signal, x.shape[2], foot, column == 0)
    return to_png(drawing)


def _checked(x: Tensor) -> Tensor:
    values = x.detach().float().cpu()
    if not bool(values.isfinite().all()):
        raise InputError(
            f"A picture has finite values, got others in {int((~values.isfinite()).sum())} of "
            f"{values.numel()}: correct what they were made from."
        )
    return values


def _draw_wave(axes: Axes, x: Tensor, colour: str) -> None:
    """Draws the lowest and the highest value of each stretch of a sound (C, T)."""
    mono = x.mean(0)
    step = max(1, len(mono) // COLUMNS)
    whole = mono[: len(mono) // step * step].reshape(-1, step)
    time = np.arange(len(whole))
    low, high = whole.amin(1).numpy(), whole.amax(1).numpy()
    axes.fill_between(time, low, high, color=colour, linewidth=0.4, alpha=0.8)
    axes.set_xlim(0, max(1, len(whole) - 1))
    axes.axis("off")


def _draw_power(
    axes: Axes,
    power: np.ndarray,
    loudest: float,
    signal: Sound,
    samples: int,
    foot: bool,
    side: bool,
) -> None:
    """Draws a spectrogram (F, frames)."""
    step = max(1, power.shape[1] // COLUMNS)
    whole = power[:, : power.shape[1] // step * step].reshape(len(power), -1, step).max(2)
    axes.imshow(
        whole,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=loudest - DEPTH,
        vmax=loudest,
        extent=(0, samples / signal.rate, 0, signal.rate / 2000),
        interpolation="nearest",
    )
    axes.tick_params(length=0, colors=GREY, labelsize=6, labelbottom=foot, labelleft=side)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if foot:
        axes.set_xlabel("seconds", color=GREY, fontsize=7)
    if side:
        axes.set_ylabel("kHz", color=GREY, fontsize=7)
