"""Traverses latent space: one dimension changes, and the others stay."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from smalti.arguments import as_integers, as_number, as_tensor, as_whole_number
from smalti.autoencoders import Autoencoder, ContinuousAutoencoder
from smalti.autoencoders.paths import linear_path
from smalti.counting import counted
from smalti.errors import InputError
from smalti.priors import GaussianPrior

__all__ = ["as_continuous", "latent_dimensions", "traverse"]


def as_continuous(autoencoder: Autoencoder) -> ContinuousAutoencoder:
    """Returns the autoencoder, typed as continuous; raises `InputError` if it has tokens."""
    if not isinstance(autoencoder, ContinuousAutoencoder):
        raise InputError(
            "Latent dimensions are traversed in a continuous model, got one with tokens: use "
            "smalti interpolate, or a run of an autoencoder."
        )
    return autoencoder


def latent_dimensions(autoencoder: Autoencoder, rows: int | None = None) -> list[int]:
    """Returns the indices of the latent dimensions, the most informative first.

    Of a VAE that is the one with the largest KL, of a plain autoencoder the one that varies most.

    Arguments:
        autoencoder: The autoencoder.
        rows: How many of them; all if not given.

    Raises:
        InputError: If the latents are tokens, or there are fewer.
    """
    autoencoder = as_continuous(autoencoder)
    if rows is not None:
        rows = as_whole_number(rows, "The number of dimensions, a row each,")
        if not 1 <= rows <= autoencoder.dim:
            raise InputError(
                f"This model has {counted(autoencoder.dim, 'dimension')}, a row each, got {rows} "
                f"rows: give 1 to {autoencoder.dim}."
            )
    return autoencoder.order[:rows].tolist()


@torch.no_grad()
def traverse(  # noqa: PLR0913 - a model, a signal, and the three numbers of a traversal
    autoencoder: ContinuousAutoencoder,
    prior: GaussianPrior,
    x: Any,
    dims: Any,
    steps: int,
    reach: float = 3.0,
) -> Tensor:
    """Decodes the latents of x with one dimension changed at a time.

    Arguments:
        autoencoder: The autoencoder.
        prior: The Gaussian over its latents, whose mean and deviation set the range of values.
        x: The signal (C, *size) whose latents give the values of the other dimensions.
        dims: The indices (R,) of the dimensions that change, one row each.
        steps: The number of values of each.
        reach: How far to each side of the mean, in standard deviations of the prior.

    Returns:
        (R, steps, C, *size).

    Raises:
        InputError: If x is not a signal that the model was trained on, or reach is not above 0.
    """
    reach = as_number(reach, "The reach of a traversal", "3 is usual")
    if not 0 < reach < math.inf:
        raise InputError(f"The reach of a traversal is above 0, got {reach:g}: 3 is usual.")
    dims = as_integers(dims, "The dimensions")
    if dims.ndim != 1 or bool(((dims < 0) | (dims >= autoencoder.dim)).any()):
        raise InputError(
            f"The dimensions are a row of numbers from 0 to {autoencoder.dim - 1}, got "
            f"{dims.tolist()}: take some of `order`."
        )
    (z,) = autoencoder.encode(as_tensor(x, "The signal")[None])
    mean, deviation = prior.mean, prior.deviation
    values = linear_path(mean - reach * deviation, mean + reach * deviation, steps)  # (steps, D)
    varied = z.expand(len(dims), steps, -1).clone()
    for row, d in zip(varied, dims.tolist(), strict=True):
        row[:, d] = values[:, d]
    return autoencoder.decode(varied.flatten(0, 1)).unflatten(0, (len(dims), steps))
