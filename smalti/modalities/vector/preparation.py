"""Checks that new vectors were preprocessed like those that a model was trained on.

Codewords are the means of what they stand for, so that on vectors like those of the training

    mean x = mean x̂,      b = Σ (x − m) · (x̂ − m̂) / Σ ‖x̂ − m̂‖² = 1

up to sampling. Vectors that were scaled to unit length when the model's were not, or were not when
they were, have another b; those that were centred when the others were not, another mean. What is
merely of another kind, such as items of a new department, has a larger error and still a b near 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from smalti.errors import InputError
from smalti.reporting.figures import Figure

__all__ = ["check_prepared_alike"]

FEWEST = 50  # vectors of which anything can be said
FAITHFUL = 0.8  # spread lost on the model's own test set, above which nothing can be said
GAIN = 2.0  # b, or 1 / b, at most
OFFSET = 0.5  # ‖mean x − mean x̂‖² over the variance at most


def check_prepared_alike(
    x: Tensor, x_hat: Tensor, measured: Mapping[str, Figure], name: str
) -> None:
    """Raises `InputError` if vectors seem preprocessed differently from the training vectors.

    It compares them with their reconstructions in scale and mean.

    Arguments:
        x: The vectors (n, d).
        x_hat: Their reconstructions (n, d).
        measured: The figures of the model on its own test set.
        name: Name of the file.
    """
    own = measured.get("spread_lost")
    value = None if own is None else own["value"]
    if len(x) < FEWEST or not isinstance(value, float) or not value < FAITHFUL:
        return
    x, x_hat = x.double().cpu(), x_hat.double().cpu()
    mean, made_mean = x.mean(0), x_hat.mean(0)
    around, made = x - mean, x_hat - made_mean
    spread, made_spread = around.square().sum().item(), made.square().sum().item()
    gain = (around * made).sum().item() / made_spread if made_spread > 0 else 1.0
    offset = (mean - made_mean).square().sum().item() * len(x) / max(spread, 1e-30)
    if 1 / GAIN <= gain <= GAIN and offset <= OFFSET:
        return
    what = (
        f"they spread {gain:.2g} times as far as their reconstructions"
        if not 1 / GAIN <= gain <= GAIN
        else "their mean lies elsewhere"
    )
    raise InputError(
        f"The vectors of {name} were not prepared as those of the run ({what}; both should be "
        f"scaled and centred alike): prepare them as these, or give --convert to take them as they "
        f"are."
    )
