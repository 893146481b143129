"""Measures how like its original a coded sound is, sound by sound.

Of originals x and reconstructions x̂, aligned (see `alignment`), and with S_w(x) the magnitudes of
the STFT of Hann windows of w samples at hops of w/4, padded by reflection,

    SI-SDR         = 10 log10 (‖s‖² / ‖x̂ − s‖²) dB,  s = ⟨x̂, x⟩ x / ‖x‖², x and x̂ less their means
    STFT distance  = Σ over w = 2048, 512 of  mean |ℓ(S_w x) − ℓ(S_w x̂)| + mean |S_w x − S_w x̂|
    mel distance   = the same of M_w S_w, w = 2048 in 150 bands, w = 512 in 80
    ℓ(a)           = log10 max(a, 1e-5)²

M_w are triangles of equal area on Slaney's mel scale from 0 Hz to half the rate. Both distances are
those that are reported of DAC, and by Codec-SUPERB of EnCodec, DAC and others: the usual settings
of `MelSpectrogramLoss` and `MultiScaleSTFTLoss` of Descript's audiotools, whose definition this is.
Rates count: at 24 or 44.1 kHz there are bands that a sound at 16 kHz does not have.

    PESQ           ITU-T P.862: narrow band at 8 kHz (P.862.1), wide band at 16 kHz (P.862.2), of at
                   most the first 30 s; MOS-LQO from 1.0 to 4.55 and to 4.64
    STOI           at 10 kHz, in one-third octave bands; from 0 to 1, intelligible from about 0.75

SI-SDR, PESQ and STOI are undefined for silence, PESQ and STOI also for what is too short: `Scores`
say why. All are means over channels. Of measures that libraries have, theirs are called.

References:
    SDR – half-baked or well done?, J. Le Roux, S. Wisdom, H. Erdogan and J. R. Hershey, 2018, arXiv
    1811.02508.
    High-Fidelity Audio Compression with Improved RVQGAN, R. Kumar et al., 2023, arXiv 2306.06546.
    Codec-SUPERB: An In-Depth Analysis of Sound Codec Models, H. Wu et al., 2024, arXiv 2402.13071.
    Perceptual Evaluation of Speech Quality (PESQ), A. W. Rix et al., 2001, ICASSP.
    An Algorithm for Intelligibility Prediction of Time-Frequency Weighted Noisy Speech, C. H. Taal
    et al., 2011, IEEE TASLP 19.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pystoi
import soxr
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.audio.sdr import scale_invariant_signal_distortion_ratio
from transformers.audio_utils import mel_filter_bank

from smalti.errors import InputError
from smalti.modalities.audio.pairs import as_pair, as_rate, is_silent, like_given

__all__ = ["Scores", "mel_distance", "pesq", "si_sdr", "stft_distance", "stoi"]

BANDS = {2048: 150, 512: 80}  # window in samples → mel bands
FLOOR = 1e-5  # of magnitudes, in logarithms
LONGEST = 30  # seconds of a sound that PESQ is taken of: the standard is for sentences
PESQ_RATES = {"narrow": 8000, "wide": 16000}  # Hz
SILENT, SILENT_HAT = "the original is silent", "the reconstruction is silent"
SHORT = "less than 0.4 s of it is not silent"


class Scores(NamedTuple):
    """The measure of each sound, or why it has none.

    Attributes:
        values: (B,), or () where one sound was given, float64; NaN where it is undefined.
        reasons: Why, for each sound; None where it is defined.
    """

    values: Tensor
    reasons: tuple[str | None, ...]


def si_sdr(x: Any, x_hat: Any) -> Scores:
    """Computes the scale-invariant signal-to-distortion ratio in dB, the mean over channels.

    Arguments:
        x: The originals, (B, C, T), or (T,) for one.
        x_hat: Their reconstructions, of the same shape.

    Raises:
        InputError: If they are no such sounds; see `as_pair`.

    Example:
        >>> x = torch.tensor([1.0, -1.0, 1.0, -1.0])
        >>> noise = torch.tensor([1.0, 1.0, -1.0, -1.0])  # at a right angle to x
        >>> f"{si_sdr(x, 3 * (x + 0.1 * noise)).values:.3f}"
        '20.000'
    """

    def one(a: Tensor, b: Tensor) -> float:
        return float(scale_invariant_signal_distortion_ratio(b, a, zero_mean=True))

    return _by_channel(x, x_hat, one, constant_is_silent=True)


def mel_distance(x: Any, x_hat: Any, rate: float) -> Tensor:
    """Computes the mel distance of sounds: (B,), or () where one was given; float64.

    Sounds shorter than the longest window are continued with zeros.

    Arguments:
        x: The originals, (B, C, T), or (T,) for one.
        x_hat: Their reconstructions, of the same shape.
        rate: Their rate in Hz.

    Raises:
        InputError: If they are no such sounds, or the rate is none.
    """
    rate = as_rate(rate)
    return _distance(x, x_hat, lambda magnitudes, w: _mel_bands(rate, w).T @ magnitudes)


def stft_distance(x: Any, x_hat: Any) -> Tensor:
    """Computes the STFT distance; see `mel_distance`, which has the same arguments but the rate."""
    return _distance(x, x_hat, lambda magnitudes, w: magnitudes)


def pesq(x: Any, x_hat: Any, rate: float, band: str | None = None) -> Scores:
    """Computes PESQ, the mean over channels, after resampling to the rate of the band.

    Arguments:
        x: The originals, (B, C, T), or (T,) for one.
        x_hat: Their reconstructions, of the same shape.
        rate: Their rate in Hz.
        band: "narrow" or "wide"; wide from 16 kHz on if None.

    Raises:
        InputError: If they are no such sounds, the rate has no wide band, or the extra `speech` is
            missing.
    """
    from smalti.modalities.audio.pesq_score import pesq_score

    rate = as_rate(rate)
    band = band or ("wide" if rate >= PESQ_RATES["wide"] else "narrow")
    if band not in PESQ_RATES:
        raise InputError(f"The band of PESQ is narrow or wide, got {band!r}: choose one.")
    own = PESQ_RATES[band]
    if rate < own:
        raise InputError(
            f"PESQ in the {band} band takes {own} Hz at least, got {rate:g} Hz: "
            + ("take the narrow band." if band == "wide" else "such sounds have none.")
        )

    def one(a: Tensor, b: Tensor) -> float | str:
        first = math.ceil(LONGEST * rate)
        u, v = (_resample(sound[:first], rate, own) for sound in (a, b))
        return pesq_score(u, v, own, "wb" if band == "wide" else "nb")

    return _by_channel(x, x_hat, one)


def stoi(x: Any, x_hat: Any, rate: float) -> Scores:
    """Computes STOI, the mean over channels; arguments and errors are those of `mel_distance`."""
    whole = as_rate(rate)
    if whole != round(whole):
        raise InputError(f"STOI takes a rate that is a whole number, got {whole:g}: resample.")

    def one(a: Tensor, b: Tensor) -> float | str:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = float(pystoi.stoi(a.numpy(), b.numpy(), round(whole)))
        few = any("Not enough STFT frames" in str(w.message) for w in said)
        return SHORT if few else found

    # A silent reconstruction is one that nobody understands, and counts 0.
    return _by_channel(x, x_hat, one, if_silent=0.0)


def _by_channel(
    x: Any,
    x_hat: Any,
    measure: Callable[[Tensor, Tensor], float | str],
    if_silent: float | None = None,
    constant_is_silent: bool = False,
) -> Scores:
    """Measures channel by channel, (T,) each, and takes the mean of each sound's.

    Arguments:
        x: See `si_sdr`.
        x_hat: Likewise.
        measure: Returns a value, or why there is none.
        if_silent: The value of a silent reconstruction; undefined if None.
        constant_is_silent: Whether a sound that never moves is silent, too.
    """
    a, b = (sound.cpu() for sound in as_pair(x, x_hat))
    around = [s - s.mean(-1, keepdim=True) if constant_is_silent else s for s in (a, b)]
    silent, silent_hat = (is_silent(s) for s in around)
    values: list[float] = []
    reasons: list[str | None] = []
    for i in range(len(a)):
        found: list[float | str] = []
        for c in range(a.shape[1]):
            if silent[i, c]:
                found.append(SILENT)
            elif silent_hat[i, c]:
                found.append(SILENT_HAT if if_silent is None else if_silent)
            else:
                found.append(measure(a[i, c], b[i, c]))
        said = [value for value in found if not isinstance(value, str)]
        why = [value for value in found if isinstance(value, str)]
        values.append(sum(said) / len(said) if said else math.nan)
        reasons.append(None if said else why[0])
    return Scores(like_given(torch.tensor(values, dtype=torch.float64), x), tuple(reasons))


def _distance(x: Any, x_hat: Any, bands: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Sums the distances of magnitudes and of their logarithms over the windows, (B,).

    Arguments:
        x: See `si_sdr`.
        x_hat: Likewise.
        bands: (magnitudes (…, w/2 + 1, frames), w) → what is compared.
    """
    a, b = as_pair(x, x_hat)
    given = a.shape[:2]
    short = max(0, max(BANDS) - a.shape[-1])
    total = torch.zeros(given, dtype=torch.float64, device=a.device)
    for w in BANDS:
        u, v = (bands(_magnitudes(F.pad(s, (0, short)).flatten(0, 1), w), w) for s in (a, b))
        logs = 2 * (u.clamp(min=FLOOR).log10() - v.clamp(min=FLOOR).log10())
        total += (logs.abs().mean((1, 2)) + (u - v).abs().mean((1, 2))).unflatten(0, given)
    return like_given(total.mean(1), x)


def _magnitudes(x: Tensor, w: int) -> Tensor:
    """Returns the magnitudes of the STFT of x (N, T) with windows of w: (N, w/2 + 1, frames)."""
    window = torch.hann_window(w, dtype=x.dtype, device=x.device)
    return torch.stft(
        x, w, w // 4, window=window, center=True, pad_mode="reflect", return_complex=True
    ).abs()


@lru_cache(maxsize=32)
def _mel_bands(rate: float, w: int) -> Tensor:
    """Returns the weights of frequencies in mel bands, (w/2 + 1, bands), float64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at high rates some bands are narrower than a frequency
        weights = mel_filter_bank(
            w // 2 + 1,
            BANDS[w],
            0.0,
            rate / 2,
            rate,  # type: ignore[arg-type]  # a fraction does as well
            norm="slaney",
            mel_scale="slaney",
        )
    return torch.from_numpy(np.asarray(weights, dtype=np.float64))


def _resample(x: Tensor, rate: float, to: int) -> np.ndarray:
    """Resamples a sound (T,)."""
    samples = x.numpy()
    return samples if rate == to else soxr.resample(samples, rate, to)
