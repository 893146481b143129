"""Metrics of reconstructed sounds: SI-SDR, mel and STFT distance, PESQ and STOI.

Reconstructions are aligned with their originals first, by a whole number of samples within
`MOST_LAG` seconds: else a model that returns sounds eight samples early would lose 13 dB that
nobody hears (`alignment`). It is one number for all, the delay of the model, found from the first
sounds that correlate with their reconstructions. `quality` has the definitions.

SI-SDR and the distances are of all sounds. PESQ and STOI take about 0.05 s of a processor for ten
seconds of speech, so they are taken of a sample of bounded size, drawn by a seed: each sound has
the same chance to be in it, however many there are (reservoir sampling, algorithm R of Vitter).

References:
    Random Sampling with a Reservoir, J. S. Vitter, 1985, ACM TOMS 11.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from smalti.arguments import as_seed, as_whole_number
from smalti.counting import counted
from smalti.extras import MissingExtra
from smalti.modalities.audio.alignment import find_joint_lag, shift
from smalti.modalities.audio.quality import (
    LONGEST,
    PESQ_RATES,
    Scores,
    mel_distance,
    pesq,
    si_sdr,
    stft_distance,
    stoi,
)
from smalti.modalities.audio.signal import Sound
from smalti.modalities.base import Metric
from smalti.reporting.figures import Figure, figure, number

__all__ = ["MOST_LAG", "SoundQuality"]

MOST_LAG = 0.02  # seconds
QUIET = 1e-3  # root mean square, −60 dB: a pause, in which there is no speech to be understood
PAUSE = "the original is quieter than −60 dB, as a pause is"
WHOLE = 60  # seconds of a sound that are measured together
AT_ONCE = 1 << 20  # samples, whose spectra take 100 MB


class SoundQuality(Metric):
    """Measures SI-SDR, mel and STFT distance, PESQ and STOI of reconstructions, batch by batch.

    Arguments:
        signal: The signal that is reconstructed.
        judged: How many sounds PESQ and STOI are taken of at most.
        seed: Seed of the draw of these.

    Example:
        >>> quality = SoundQuality(Sound(1, 16000), judged=4)
        >>> x = torch.randn(3, 1, 8000, generator=torch.Generator().manual_seed(0)) / 10
        >>> quality.update(x, x.roll(-8, 2))  # early, which costs nothing
        >>> quality.figures("test set")["mel_distance"]["value"]
        0.0
    """

    names: ClassVar[Mapping[str, str]] = {
        "si_sdr": "SI-SDR",
        "mel_distance": "Mel distance",
        "stft_distance": "STFT distance",
        "pesq": "PESQ",
        "stoi": "STOI",
    }
    units: ClassVar[Mapping[str, str]] = {"si_sdr": "dB"}
    cards: ClassVar[Mapping[str, tuple[str, str]]] = {
        "mel_distance": ("Mel distance", "0 is perfect"),
        "pesq": ("PESQ", "1 to 4.6, of speech"),
        "stoi": ("STOI", "1 is perfect, of speech"),
        "si_sdr": ("SI-SDR of reconstructions", "of codecs that keep the waveform"),
    }

    def __init__(self, signal: Sound, judged: int = 64, seed: int = 0) -> None:
        self.signal = signal
        self.judged = as_whole_number(judged, "The number of judged sounds", 0)
        self.draw = torch.Generator().manual_seed(as_seed(seed))
        self.seen = 0
        self.sample: list[tuple[Tensor, Tensor]] = []
        self.values: dict[str, list[float]] = {name: [] for name in self.names}
        self.reasons: dict[str, Counter[str]] = {name: Counter() for name in self.names}
        self.lag: int | None = None  # in samples; unknown as long as nothing correlates
        self._judged_at = -1  # the number of sounds seen when PESQ and STOI were taken last

    @torch.no_grad()
    def update(self, x: Tensor, x_hat: Tensor) -> None:
        """Adds a batch of x and x_hat, both (B, C, T); of more than a minute in equal parts."""
        x_hat = self.signal.finish(x_hat)
        parts = -(-x.shape[2] // (WHOLE * self.signal.rate))
        for part, part_hat in zip(
            x.tensor_split(parts, dim=2), x_hat.tensor_split(parts, dim=2), strict=True
        ):
            self._take(part, part_hat)

    def _take(self, x: Tensor, x_hat: Tensor) -> None:
        """Adds a batch of x and x_hat, both (B, C, T), a piece of it after another."""
        at_once = max(1, AT_ONCE // x[0].numel())
        pieces = zip(x.split(at_once), x_hat.split(at_once), strict=True)
        for piece, piece_hat in pieces:
            self._measure(piece, piece_hat)

    def _measure(self, x: Tensor, x_hat: Tensor) -> None:
        """Adds the measures of a piece of a batch, and perhaps the sounds to the sample."""
        if self.lag is None:
            self.lag = find_joint_lag(x, x_hat, math.ceil(MOST_LAG * self.signal.rate))
        x, x_hat, _ = shift(x, x_hat, torch.full((len(x),), self.lag or 0))
        self._add("si_sdr", si_sdr(x, x_hat))
        self.values["mel_distance"] += mel_distance(x, x_hat, self.signal.rate).tolist()
        self.values["stft_distance"] += stft_distance(x, x_hat).tolist()
        for pair in zip(x, x_hat, strict=True):
            self._keep(*pair)

    def figures(self, measured_on: str) -> dict[str, Figure]:
        """Returns the figures that such sounds have.

        Arguments:
            measured_on: The set and its N, for the protocols.
        """
        self._judge()
        rate = f"{number(self.signal.rate)} Hz"
        late = "late" if (self.lag or 0) > 0 else "early"
        moved = f"found {counted(abs(self.lag), 'sample')} {late}" if self.lag else "found in time"
        aligned = f"{rate}, aligned by at most {MOST_LAG * 1000:g} ms ({moved})"
        of = {
            "si_sdr": "mean over sounds; only a codec that keeps the waveform has any",
            "mel_distance": "log10 of squared magnitudes beside magnitudes, in 150 mel bands at "
            "windows of 2048 samples and 80 at 512; mean over sounds",
            "stft_distance": "log10 of squared magnitudes beside magnitudes, at windows of 2048 "
            "and 512 samples; mean over sounds",
            "pesq": f"MOS-LQO, {self._band} band, of at most {LONGEST} s; mean over {self._of}",
            "stoi": f"at 10 kHz; mean over {self._of}",
        }
        found = {}
        for name, values in self.values.items():
            if values:
                protocol = f"{measured_on}, {aligned}; {of[name]}{self._left_out(name)}"
                mean = math.fsum(values) / len(values)
                found[name] = figure(mean, self.units.get(name, ""), protocol)
        return found

    def missing(self) -> dict[str, str]:
        """Returns why a figure is missing: what the sounds are, or an extra that is not there."""
        self._judge()
        return {
            name: f"{self.reasons[name].most_common(1)[0][0]}."
            for name, values in self.values.items()
            if not values and self.reasons[name]
        }

    @property
    def _band(self) -> str:
        return "wide" if self.signal.rate >= PESQ_RATES["wide"] else "narrow"

    @property
    def _of(self) -> str:
        """Says which sounds are judged."""
        if len(self.sample) == self.seen:
            return "sounds"
        return f"{number(len(self.sample))} of these sounds, drawn at random"

    def _left_out(self, name: str) -> str:
        """Says which sounds have no such figure."""
        said = [f"{number(count)} of which {why}" for why, count in self.reasons[name].items()]
        return f", without {' and '.join(said)}" if said else ""

    def _add(self, name: str, scores: Scores) -> None:
        """Adds the scores of sounds, and the reasons of those that have none."""
        for value, why in zip(scores.values.tolist(), scores.reasons, strict=True):
            if why is None:
                self.values[name].append(value)
            else:
                self.reasons[name][why] += 1

    def _keep(self, x: Tensor, x_hat: Tensor) -> None:
        """Keeps a pair in the sample, in the place of another once it is full."""
        self.seen += 1
        place = len(self.sample)
        if place >= self.judged:
            place = int(torch.randint(self.seen, (), generator=self.draw))
            if place >= self.judged:
                return
        most = LONGEST * self.signal.rate
        pair = tuple(sound[:, :most].float().cpu().clone() for sound in (x, x_hat))
        self.sample[place : place + 1] = [(pair[0], pair[1])]

    def _judge(self) -> None:
        """Takes PESQ and STOI of the sample, unless that was done."""
        if self._judged_at == self.seen:
            return
        self._judged_at = self.seen
        measures: dict[str, Callable[[Tensor, Tensor, float], Scores]] = {
            "pesq": pesq,
            "stoi": stoi,
        }
        for name, measure in measures.items():
            self.values[name], self.reasons[name] = [], Counter()
            if not self.judged:
                self.reasons[name]["it was switched off"] += 1
            if name == "pesq" and self.signal.rate < PESQ_RATES["narrow"]:
                self.reasons[name][f"it takes {PESQ_RATES['narrow']} Hz at least"] += 1
                continue
            try:
                for x, x_hat in self.sample:
                    if 0 < float(x.square().mean().sqrt()) < QUIET:
                        self.reasons[name][PAUSE] += 1
                        continue
                    self._add(name, measure(x[None], x_hat[None], self.signal.rate))
            except MissingExtra as error:
                self.reasons[name][str(error).rstrip(".")] += 1
