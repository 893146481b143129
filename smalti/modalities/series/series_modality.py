"""Series as a modality: reading, writing, showing, measuring and classifying them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from smalti.data.tables import TABLES
from smalti.errors import InputError
from smalti.modalities.base import Metric, Modality
from smalti.modalities.series.arrays import ARRAYS
from smalti.modalities.series.by_channel import ByChannel, Spectrum
from smalti.modalities.series.classifier import SeriesClassifier
from smalti.modalities.series.drawing import draw_pairs, draw_series
from smalti.modalities.series.metrics import SeriesError
from smalti.modalities.series.series_files import WRITTEN, read_series, write_series
from smalti.modalities.series.signal import Series
from smalti.reporting.blocks import Block, Picture
from smalti.reporting.figures import number
from smalti.reporting.measurement import Measurement
from smalti.signals import Signal
from smalti.spelling import readable

__all__ = ["SeriesModality"]

READ = (*ARRAYS, *TABLES)
PARTS = ("begin", "end")


class SeriesModality(Modality):
    """The modality of time series (B, C, T), NaN in gaps."""

    signal: ClassVar[type[Signal]] = Series
    suffixes: ClassVar[tuple[str, ...]] = (*WRITTEN, *(s for s in READ if s not in WRITTEN))
    shown_as: ClassVar[str] = ".png"
    paired: ClassVar[str] = "the original in grey, its reconstruction over it in orange"

    def read(
        self,
        path: str | Path,
        signal: Signal,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """See `Modality.read`: of a file that holds one series."""
        return read_series(path, signal, convert, source)

    def from_object(
        self, given: Any, signal: Signal, source: Mapping[str, Any] | None = None
    ) -> Tensor | None:
        """See `Modality.from_object`: no library has series that are neither numbers nor files."""
        return None

    def read_partial(
        self,
        path: str | Path,
        signal: Signal,
        keep: str | None = None,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `Modality.read_partial`: what is missing is its gaps.

        Of a series without gaps the begin is given, or the end, the half of it. A step counts as
        missing where any channel is; over missing steps there are straight lines.
        """
        x = read_series(path, signal, convert, source)
        given = ~x.isnan().any(0)
        if keep is not None and keep not in PARTS:
            raise InputError(f"There is no part {keep!r}: keep {' or '.join(PARTS)}.")
        if bool(given.all()):
            begin = torch.arange(len(given)) < max(1, len(given) // 2)
            given = ~begin if keep == "end" else begin
        elif keep is not None:
            raise InputError(
                f"The gaps of {readable(path)} say what is missing, got --keep {keep}: omit that."
            )
        if not bool(given.any()) or bool(given.all()):
            raise InputError(
                f"{readable(path)} has no step of which all channels are there and some are to be "
                f"made: give one with both."
            )
        return _filled(x, given), given

    def read_mask(
        self,
        path: str | Path,
        signal: Signal,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """See `Modality.read_mask`: a series of the same channels and steps, 1 where it marks.

        A step is marked where any channel is above one half; a gap marks nothing.
        """
        marked = (read_series(path, signal, convert, source) > 0.5).any(0)
        if not bool(marked.any()):
            raise InputError(
                f"The mask {readable(path)} marks no step: write 1 where the series is to be "
                f"edited, and 0 elsewhere."
            )
        return marked

    def write(
        self,
        x: Tensor,
        path: str | Path,
        overwrite: bool = False,
        signal: Signal | None = None,
    ) -> None:
        """See `Modality.write`: a .csv with a row for each step, or an .npz."""
        write_series(x, path, overwrite, _known(signal))

    def describe(self, signal: Signal) -> str:
        """See `Modality.describe`.

        Example:
            >>> SeriesModality().describe(Series(3, (128,), rate=64.0)).partition(", ")[0]
            'Series of 3 channels and 128 steps (2 s)'
        """
        assert isinstance(signal, Series)
        steps = signal.size[0] if signal.size else 1
        long = f" and {signal.lasts(steps)}" if signal.size else ", a step"
        channels = f"{signal.channels} channel{'s' * (signal.channels > 1)}"
        return f"Series of {channels}{long}, {number(32 * signal.channels * steps)} bits each"

    def render(
        self,
        x: Tensor,
        caption: str,
        columns: int | None = None,
        signal: Signal | None = None,
    ) -> Block:
        """See `Modality.render`: the channels of each as traces below each other."""
        return Picture(draw_series(x, _known(signal) or Series(x.shape[1]), columns), caption)

    def compare(
        self, x: Tensor, x_hat: Tensor, caption: str, signal: Signal | None = None
    ) -> Block:
        """See `Modality.compare`: each channel with its reconstruction over it."""
        return Picture(draw_pairs(x, x_hat, _known(signal) or Series(x.shape[1])), caption)

    def metrics(self, signal: Signal) -> Sequence[Metric]:
        """See `Modality.metrics`."""
        return [SeriesError()]

    def classifier(self, signal: Signal, classes: int) -> SeriesClassifier:
        """See `Modality.classifier`."""
        return SeriesClassifier(signal.channels, classes)

    def measurements(self) -> Sequence[Measurement]:
        """See `Modality.measurements`."""
        return [ByChannel(), Spectrum()]


def _known(signal: Signal | None) -> Series | None:
    return signal if isinstance(signal, Series) else None


def _filled(x: Tensor, given: Tensor) -> Tensor:
    """Puts straight lines over the steps of x (C, T) that are not given (T,)."""
    places = given.nonzero()[:, 0]
    after = torch.searchsorted(places, torch.arange(len(given))).clamp(max=len(places) - 1)
    right = places[after]
    left = places[(after - 1).clamp(min=0)]
    t = torch.arange(len(given))
    share = ((t - left) / (right - left).clamp(min=1)).clamp(0, 1).to(x.dtype)
    line = torch.lerp(x[:, left], x[:, right], share)
    return torch.where(given, x, line)
