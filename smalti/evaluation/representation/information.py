"""Measures the information in latents: active units, and the mutual information I(x; z).

A decoder that can do without the latents leaves them empty: the posterior q(z | x) *collapses* to
the prior and is the same for every x. Two measures see it directly. A unit is active if its
posterior mean moves with the data,

    Var_x (E_q(z|x) z_u) > 0.01

and the mutual information is the mean distance of a posterior from the aggregate posterior q(z):

    I(x; z) = E_x KL(q(z | x) ‖ q(z)),   q(z) = 1/N Σ_n q(z | x_n)

which is at most log N for the N examples that it is taken over. The KL of the ELBO is larger: it is
I(x; z) + KL(q(z) ‖ p(z)).

A deterministic code has H(code | x) = 0, so that I(x; code) is the entropy H(code). Over the same N
examples, in the same nats and with the same ceiling log N, it can stand beside the I(x; z) of a
continuous model. Where that ceiling is reached (all N codes differ), the sum of the entropies of
the single positions is a bound from above that N does not limit as soon.

References:
    Importance Weighted Autoencoders, Y. Burda, R. Grosse and R. Salakhutdinov, 2015, arXiv
    1509.00519: active units.
    ELBO surgery: yet another way to carve up the variational evidence lower bound, M. D. Hoffman
    and M. J. Johnson, 2016, NIPS workshop.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.evaluation.batches import split_in_pieces

__all__ = ["active_units", "code_entropy_bound", "code_information", "gaussian_information"]


def active_units(mean: Tensor, threshold: float = 0.01) -> int:
    """Counts the latent dimensions that change with the data.

    Arguments:
        mean: (N, D), the posterior mean of each example.
        threshold: The variance over the examples above which a dimension's mean counts.

    Example:
        >>> active_units(torch.tensor([[1.0, 0.01], [-1.0, -0.01]]))
        1
    """
    return int((mean.double().var(dim=0) > threshold).sum())


def gaussian_information(
    mean: Tensor,
    log_variance: Tensor,
    samples: int = 1,
    generator: torch.Generator | None = None,
    batch_size: int = 256,
) -> float:
    """Estimates I(x; z) of diagonal Gaussian posteriors, in nats, from 0 to log N.

        1/N Σ_n E_{z ~ q(z|x_n)} [log q(z | x_n) − log 1/N Σ_m q(z | x_m)]

    Arguments:
        mean: (N, D).
        log_variance: (N, D).
        samples: Draws of z for each example.
        generator: Source of the draws.
        batch_size: Draws at a time; each is compared with all N posteriors.

    Raises:
        InputError: If the shapes differ.
    """
    if mean.ndim != 2 or mean.shape != log_variance.shape:
        raise InputError(
            f"Means and log-variances have one shape (N, D), got {tuple(mean.shape)} and "
            f"{tuple(log_variance.shape)}: flatten each example's latents to a row."
        )
    mean, log_variance = mean.double(), log_variance.double()
    precision = (-log_variance).exp()
    # log q(z | x_m) = −½ Σ (z² − 2 z μ + μ²)/σ² − ½ Σ log σ² + constant: three matrix products.
    offset = -0.5 * (mean.square() * precision + log_variance).sum(dim=1)
    total = 0.0
    for _ in range(samples):
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        z = mean + (0.5 * log_variance).exp() * noise
        own = -0.5 * (noise.square() + log_variance).sum(dim=1)  # without the constant, too
        for chunk, of_chunk in split_in_pieces(z, own, size=batch_size):
            assert chunk is not None
            assert of_chunk is not None
            scores = offset + chunk @ (mean * precision).T - 0.5 * chunk.square() @ precision.T
            total += (of_chunk - scores.logsumexp(dim=1) + math.log(len(mean))).sum().item()
    return total / (samples * len(mean))


def code_information(indices: Tensor) -> float:
    """Computes I(x; code) = H(code) of the discrete codes of examples, in nats, from 0 to log N.

    Arguments:
        indices: (N, ...), any integers; the whole row is the code of an example.

    Example:
        >>> round(code_information(torch.tensor([[0, 1], [0, 1], [2, 0], [2, 2]])), 4)  # 1.5 bits
        1.0397
    """
    _, counts = indices.flatten(1).unique(dim=0, return_counts=True)
    return torch.special.entr(counts.double() / len(indices)).sum().item()


def code_entropy_bound(indices: Tensor) -> float:
    """Computes an upper bound on H(code) in nats: the sum of the entropies of all positions.

    Arguments:
        indices: (N, ...), any integers.
    """
    return sum(code_information(position[:, None]) for position in indices.flatten(1).T)
