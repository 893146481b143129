"""Sounds as a modality: reading, writing, showing, measuring and classifying them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from smalti.modalities.audio.bit_rate import BitRate, CodingSpeed
from smalti.modalities.audio.classifier import SoundClassifier
from smalti.modalities.audio.decoding import READ
from smalti.modalities.audio.drawing import MOST, PAIRS, draw_pairs, draw_sounds
from smalti.modalities.audio.metrics import SoundQuality
from smalti.modalities.audio.sheet import make_sheet, pairs
from smalti.modalities.audio.signal import Sound
from smalti.modalities.audio.sound_files import (
    USUAL_RATE,
    WRITTEN,
    joined,
    read_marked,
    read_part,
    read_sound,
    write_sound,
)
from smalti.modalities.base import JoinedInFile, Metric
from smalti.modalities.squared_error import SquaredError
from smalti.reporting.blocks import Block
from smalti.reporting.figures import number
from smalti.reporting.measurement import Measurement
from smalti.signals import Signal

__all__ = ["AudioModality"]


class AudioModality(JoinedInFile):
    """The modality of sounds (B, C, T) in [-1, 1]."""

    signal: ClassVar[type[Signal]] = Sound
    suffixes: ClassVar[tuple[str, ...]] = (*WRITTEN, *(s for s in READ if s not in WRITTEN))
    shown_as: ClassVar[str] = ".png"
    written_joined: ClassVar[tuple[str, ...]] = WRITTEN
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
        """See `Modality.read_partial`: the begin or the end of a sound; see `read_part`.

        Arguments:
            path: Path of the file.
            signal: What the model takes.
            keep: "begin" or "end", alone or with seconds: "begin 0.5". If not given, the whole of
                a file that is shorter than the model's sounds, else its first half.
            convert: Has no effect.
            source: See `read`.
        """
        return read_part(path, signal, keep, source)

    def read_mask(
        self,
        path: str | Path,
        signal: Signal,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """See `Modality.read_mask`: stretches of seconds, or a sound; see `read_marked`."""
        return read_marked(path, signal, source)

    def write(
        self,
        x: Tensor,
        path: str | Path,
        overwrite: bool = False,
        signal: Signal | None = None,
    ) -> None:
        """See `Modality.write`: a .wav or a .flac of 16 bits."""
        write_sound(x, path, overwrite, _known(signal))

    def write_joined(
        self,
        signals: Sequence[Tensor],
        path: str | Path,
        overwrite: bool = False,
        signal: Signal | None = None,
    ) -> None:
        """See `JoinedInFile.write_joined`: a quarter of a second of silence is between them."""
        known = _known(signal)
        rate = USUAL_RATE if known is None else known.rate
        write_sound(joined(signals, rate), path, overwrite, known)

    def describe(self, signal: Signal) -> str:
        """See `Modality.describe`.

        Example:
            >>> AudioModality().describe(Sound(1, 8000, (8000,)))
            'Sounds of 1 s at 8\\u202f000 Hz, mono, 16 bits a sample, 128\\u202f000 bits each'
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
        """See `Modality.render`: waveform, spectrogram and player of each."""
        known = _known(signal) or Sound(x.shape[1], USUAL_RATE)
        shown = x[:MOST]
        named = [(str(number), one) for number, one in enumerate(shown, start=1)]
        return make_sheet(draw_sounds(shown, known, columns), caption, named, known.rate)

    def compare(
        self, x: Tensor, x_hat: Tensor, caption: str, signal: Signal | None = None
    ) -> Block:
        """See `Modality.compare`: the spectrogram of each above that of its reconstruction."""
        known = _known(signal) or Sound(x.shape[1], USUAL_RATE)
        x, x_hat = x[:PAIRS], x_hat[:PAIRS]
        return make_sheet(draw_pairs(x, x_hat, known), caption, pairs(x, x_hat), known.rate)

    def metrics(self, signal: Signal) -> Sequence[Metric]:
        """See `Modality.metrics`."""
        assert isinstance(signal, Sound)
        return [SoundQuality(signal), SquaredError(signal)]

    def classifier(self, signal: Signal, classes: int) -> SoundClassifier:
        """See `Modality.classifier`."""
        assert isinstance(signal, Sound)
        return SoundClassifier(signal.rate, classes)

    def measurements(self) -> Sequence[Measurement]:
        """See `Modality.measurements`."""
        return [BitRate(), CodingSpeed()]


def _known(signal: Signal | None) -> Sound | None:
    return signal if isinstance(signal, Sound) else None
