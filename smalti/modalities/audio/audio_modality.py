"""Sounds as a modality: reading, writing, showing, measuring and classifying them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from smalti.errors import InputError
from smalti.modalities.audio.classifier import SoundClassifier
from smalti.modalities.audio.decoding import READ
from smalti.modalities.audio.drawing import draw_pairs, draw_sounds
from smalti.modalities.audio.signal import Sound
from smalti.modalities.audio.sound_files import WRITTEN, read_sound, write_sound
from smalti.modalities.base import Metric, Modality
from smalti.modalities.squared_error import SquaredError
from smalti.reporting.blocks import Block, Picture
from smalti.reporting.figures import number
from smalti.reporting.measurement import Measurement
from smalti.signals import Signal
from smalti.spelling import readable

__all__ = ["AudioModality"]

USUAL_RATE = 16_000


class AudioModality(Modality):
    """The modality of sounds (B, C, T) in [-1, 1]."""

    signal: ClassVar[type[Signal]] = Sound
    suffixes: ClassVar[tuple[str, ...]] = (*WRITTEN, *(s for s in READ if s not in WRITTEN))
    shown_as: ClassVar[str] = ".png"
    paired: ClassVar[str] = "the spectrogram of the original above that of its reconstruction"

    def read(
        self,
        path: str | Path,
        signal: Signal,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """See `Modality.read`: resampled and mixed in any case, cut by `convert` alone."""
        return read_sound(path, signal, convert, source)

    def from_object(
        self, given: Any, signal: Signal, source: Mapping[str, Any] | None = None
    ) -> Tensor | None:
        """See `Modality.from_object`: no library has sounds that are neither numbers nor files."""
        return None

    def read_partial(
        self,
        path: str | Path,
        signal: Signal,
        keep: str | None = None,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `Modality.read_partial`: the begin or the end of a sound is given."""
        raise InputError(f"{readable(path)} cannot be completed.")

    def read_mask(
        self,
        path: str | Path,
        signal: Signal,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """See `Modality.read_mask`."""
        raise InputError(f"{readable(path)} is no mask.")

    def write(
        self,
        x: Tensor,
        path: str | Path,
        overwrite: bool = False,
        signal: Signal | None = None,
    ) -> None:
        """See `Modality.write`: a .wav or a .flac of 16 bits."""
        write_sound(x, path, overwrite, _known(signal))

    def describe(self, signal: Signal) -> str:
        """See `Modality.describe`.

        Example:
            >>> AudioModality().describe(Sound(1, 8000, (8000,)))
            'Sounds of 1 s at 8,000 Hz, mono, 16 bits a sample, 128,000 bits each'
        """
        assert isinstance(signal, Sound)
        samples = signal.size[0] if signal.size else signal.rate
        form = signal.forms.get(signal.channels, f"{signal.channels} channels")
        return (
            f"Sounds of {signal.lasts(samples)} at {number(signal.rate)} Hz, {form}, 16 bits a "
            f"sample, {number(16 * signal.channels * samples)} bits each"
        )

    def render(
        self,
        x: Tensor,
        caption: str,
        columns: int | None = None,
        signal: Signal | None = None,
    ) -> Block:
        """See `Modality.render`: the waveform and the spectrogram of each."""
        return Picture(
            draw_sounds(x, _known(signal) or Sound(x.shape[1], USUAL_RATE), columns), caption
        )

    def compare(
        self, x: Tensor, x_hat: Tensor, caption: str, signal: Signal | None = None
    ) -> Block:
        """See `Modality.compare`: the spectrogram of each above that of its reconstruction."""
        return Picture(
            draw_pairs(x, x_hat, _known(signal) or Sound(x.shape[1], USUAL_RATE)), caption
        )

    def metrics(self, signal: Signal) -> Sequence[Metric]:
        """See `Modality.metrics`."""
        assert isinstance(signal, Sound)
        return [SquaredError(signal)]

    def classifier(self, signal: Signal, classes: int) -> SoundClassifier:
        """See `Modality.classifier`."""
        assert isinstance(signal, Sound)
        return SoundClassifier(signal.rate, classes)

    def measurements(self) -> Sequence[Measurement]:
        """See `Modality.measurements`."""
        return []


def _known(signal: Signal | None) -> Sound | None:
    return signal if isinstance(signal, Sound) else None
