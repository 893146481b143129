"""Traversals: what changes as one latent dimension changes and the others stay."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from smalti.arguments import a_number, as_integers, as_tensor
from smalti.autoencoders import ContinuousAutoencoder
from smalti.autoencoders.paths import line
from smalti.errors import InputError
from smalti.priors import GaussianPrior

__all__ = ["traverse"]


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
        prior: What its latents are drawn from.
        x: (C, *size), where the other dimensions come from.
        dims: (R,), which dimensions; see `ContinuousAutoencoder.order`.
        steps: Values of each dimension.
        reach: How far to each side of the mean, in standard deviations of the prior.

    Returns:
        (R, steps, C, *size).

    Raises:
        InputError: If x is not a signal that the model was trained on, or reach is not above 0.
    """
    reach = a_number(reach, "The reach of a traversal", "3 is usual")
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
    values = line(mean - reach * deviation, mean + reach * deviation, steps)  # (steps, D)
    varied = z.expand(len(dims), steps, -1).clone()
    for row, d in zip(varied, dims.tolist(), strict=True):
        row[:, d] = values[:, d]
    return autoencoder.decode(varied.flatten(0, 1)).unflatten(0, (len(dims), steps))
