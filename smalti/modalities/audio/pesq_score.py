"""PESQ of one sound, by the package `pesq` (the extra `speech`)."""

from __future__ import annotations

import numpy as np
import pesq

__all__ = ["pesq_score"]

WHY = {
    "NoUtterancesError": "no speech was found in it",
    "BufferTooShortError": "it is shorter than a quarter of a second",
}


def pesq_score(x: np.ndarray, x_hat: np.ndarray, rate: int, band: str) -> float | str:
    """Returns PESQ of speech (T,) at 8 or 16 kHz, or why it has none.

    Arguments:
        x: The original, not silent.
        x_hat: The reconstruction, not silent.
        rate: 8000 or 16000.
        band: "nb" or "wb".
    """
    try:
        return float(pesq.pesq(rate, x.astype(np.float32), x_hat.astype(np.float32), band))
    except (pesq.NoUtterancesError, pesq.BufferTooShortError) as error:
        return WHY[type(error).__name__]
