"""Draws sounds: their spectrograms, each with its waveform above.

|STFT| of Hann windows of about 32 ms (a power of two samples), a quarter apart, in decibels
below the loudest of the whole picture; 80 dB are shown
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from torch import Tensor

from smalti.errors import InputError
from smalti.modalities.audio.signal import Sound
from smalti.modalities.plots import BLUE, GREY, ORANGE, to_png

__all__ = ["MOST", "PAIRS", "draw_pairs", "draw_sounds", "spectrogram"]

MOST = 64  # sounds in a picture
PAIRS = 8
ROW = 4  # beside each other
WINDOW = 0.032  # s
DEPTH = 80.0  # dB
FRAMES = 1600  # of a spectrogram, at most: of a long sound they lie farther apart
ACROSS, HIGH, WAVE, SPACE = 250, 120, 40, 10  # px: width of a tile, heights, gap
DPI = 144


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
    hop = max(window // 4, mono.shape[1] // FRAMES)
    stft = torch.stft(mono, window, hop, window=hann, return_complex=True, pad_mode="constant")
    power = stft.abs().square() / hann.sum() ** 2 * 4
    return 10 * power.clamp(min=1e-12).log10().numpy()


def draw_sounds(x: Tensor, signal: Sound, columns: int | None = None) -> bytes:
    """Draws sounds (B, C, T), the first 64, each with its spectrogram: the content of a PNG file.

    Raises:
        InputError: If a value is not finite.
    """
    x = _checked(x)[:MOST]
    power = spectrogram(x, signal.rate)
    waves = [[_wave(one, BLUE)] for one in x]
    tiles = [_tile(wave, [one], float(power.max())) for wave, one in zip(waves, power, strict=True)]
    return _sheet(tiles, min(len(x), columns or ROW), signal, x.shape[2], 1)


def draw_pairs(x: Tensor, x_hat: Tensor, signal: Sound) -> bytes:
    """Draws sounds and their reconstructions (B, C, T), the first 8 pairs: the content of a PNG.

    The spectrogram of each original is above that of its reconstruction.

    Raises:
        InputError: If a value is not finite.
    """
    x, x_hat = _checked(x)[:PAIRS], _checked(x_hat)[:PAIRS]
    above, below = spectrogram(x, signal.rate), spectrogram(x_hat, signal.rate)
    loudest = float(max(above.max(), below.max()))
    tiles = [
        _tile([_wave(one, GREY), _wave(made, ORANGE)], [upper, lower], loudest)
        for one, made, upper, lower in zip(x, x_hat, above, below, strict=True)
    ]
    return _sheet(tiles, min(len(x), ROW), signal, x.shape[2], 2)


def _checked(x: Tensor) -> Tensor:
    values = x.detach().float().cpu()
    if not bool(values.isfinite().all()):
        raise InputError(
            f"A picture has finite values, got others in {int((~values.isfinite()).sum())} of "
            f"{values.numel()}: correct what they were made from."
        )
    return values


def _wave(x: Tensor, colour: str) -> np.ndarray:
    """Draws the lowest and the highest value of each stretch of a sound (C, T): (h, w, 4)."""
    mono = x.mean(0).numpy()
    high, low = _resized(mono, ACROSS), -_resized(-mono, ACROSS)
    level = np.linspace(1, -1, WAVE)[:, None]
    thick = 1 / WAVE  # so that a line is seen where there is silence
    seen = (level <= high + thick) & (level >= low - thick)
    return np.where(seen[..., None], np.array(to_rgba(colour)), 0.0)


def _tile(waves: Sequence[np.ndarray], powers: Sequence[np.ndarray], loudest: float) -> np.ndarray:
    """Puts waves over each other, and spectrograms (F, frames) below: (h, w, 4)."""
    wave = waves[0]
    for other in waves[1:]:
        wave = np.where(other[..., 3:] > 0, other, wave)
    parts = [wave]
    for power in powers:
        whole = _resized(_resized(power, HIGH).T, ACROSS).T
        share = np.clip((whole[::-1] - loudest) / DEPTH + 1, 0, 1)
        parts += [np.zeros((2, ACROSS, 4)), colormaps["magma"](share)]
    return np.concatenate(parts)


def _resized(values: np.ndarray, n: int) -> np.ndarray:
    """Makes n rows of values (m, …): the largest of several, or each repeated."""
    edges = np.arange(n) * len(values) // n
    return values[edges] if len(values) <= n else np.maximum.reduceat(values, edges)


def _sheet(
    tiles: Sequence[np.ndarray], columns: int, signal: Sound, samples: int, each: int
) -> bytes:
    """Draws tiles (h, w, 4) in rows, numbered, with the scales of time and frequency.

    Everything is one picture in one pair of axes: axes for each sound would take seconds.
    """
    rows, (high, wide) = math.ceil(len(tiles) / columns), tiles[0].shape[:2]
    whole = np.zeros((rows * (high + SPACE), columns * (wide + SPACE), 4))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        top, left = row * (high + SPACE), column * (wide + SPACE)
        whole[top : top + high, left : left + wide] = tile
    drawing = Figure(figsize=(whole.shape[1] / DPI + 0.6, whole.shape[0] / DPI + 0.4))
    axes = drawing.add_axes((0, 0, 1, 1))
    axes.imshow(whole, interpolation="nearest", aspect="auto")
    for number in range(len(tiles)):
        row, column = divmod(number, columns)
        place = column * (wide + SPACE) + 2, row * (high + SPACE)
        axes.text(*place, str(number + 1), color=GREY, fontsize=6, va="top")
    bottom = [row * (high + SPACE) + high for row in range(rows)]
    pitch = [(y - share * (each * (HIGH + 2) - 2), share) for y in bottom for share in (0, 1)]
    kilohertz = signal.rate / 2000
    axes.set_yticks([y for y, _ in pitch], [f"{share * kilohertz:.3g} kHz" for _, share in pitch])
    ends = [(c * (wide + SPACE) + share * wide, share) for c in range(columns) for share in (0, 1)]
    axes.set_xticks(
        [x for x, _ in ends], ["" if not share else signal.lasts(samples) for _, share in ends]
    )
    axes.tick_params(length=0, colors=GREY, labelsize=6)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return to_png(drawing)
