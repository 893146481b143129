"""Measures disentanglement: whether each latent dimension encodes one factor of the data.

The data were made from known factors v_1 … v_F, each of which takes a few values, and z is what a
model makes of them. Both measures begin with a matrix (D, F) of what latent i says about factor j.

**MIG** takes the mutual information I(z_i; v_j). A factor is disentangled if one latent says far
more about it than any other does:

    MIG = 1/F Σ_j (I(z_(1); v_j) − I(z_(2); v_j)) / H(v_j),   z_(1), z_(2): the two that say most

I is estimated by counting in bins of equal frequency. Of a stochastic encoder z is a *draw* from
q(z | x), not its mean: the means of a collapsed dimension differ by next to nothing, and only the
noise of the draw says so. Counting N examples overestimates I by about (bins − 1)(values − 1)/2N.

**DCI** predicts the factors from the latents and asks which latents the prediction rests on. With
the importances R_ij, and the entropies H_n of what is divided by its sum, to the base n:

    disentanglement  D_i = 1 − H_F(R_i·)   averaged with the weights ρ_i = Σ_j R_ij / Σ R
    completeness     C_j = 1 − H_D(R_·j)   averaged over the factors
    informativeness  how well the factors are predicted for examples that the fit has not seen

The predictor is additive: each latent in bins, one indicator a bin, and a ridge regression from all
indicators of all latents to the indicators of the factor's values,

    1[v_j = l] ≈ Σ_i f_ijl(z_i),     R_ij = Σ_l Var f_ijl(z_i)

R_ij is the variance that latent i explains, as the decrease of impurity is in the trees of the
paper, but with a solution in closed form and nothing random. A latent may say it in any curve.

References:
    Isolating Sources of Disentanglement in Variational Autoencoders, R. T. Q. Chen et al., 2018,
    arXiv 1802.04942.
    A Framework for the Quantitative Evaluation of Disentangled Representations, C. Eastwood and C.
    K. I. Williams, 2018, ICLR.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from einops import einsum, rearrange
from torch import Tensor
from torch.nn import functional as F

from smalti.errors import InputError

__all__ = ["DCI", "dci", "factor_information", "mutual_information_gap"]

RIDGE = 1e-3  # beside a mean square of at most 1: keeps indicators that sum to 1 solvable


class DCI(NamedTuple):
    """The three DCI scores: disentanglement, completeness and informativeness.

    Attributes:
        disentanglement: In [0, 1]: 1 where each latent dimension encodes one factor only.
        completeness: In [0, 1]: 1 where each factor is encoded in one latent dimension only.
        informativeness: At most 1: the R² with which latents predict the one-hot values of the
            factors, on held-out examples; 0 is no better than chance.
        importance: R (D, F), float64: the importance of each latent for each factor.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: Tensor


def mutual_information_gap(z: Tensor, factors: Tensor, bins: int = 20) -> float:
    """Computes the mutual information gap (MIG) between latents and factors, in [0, 1].

    Arguments:
        z: The latents (N, D), D at least 2; draws of a stochastic encoder.
        factors: The value of each factor (N, F), int64.
        bins: Bins of equal frequency per latent; one per value where a latent has fewer values.

    Raises:
        InputError: If the shapes do not fit, or a factor takes one level only.

    Example:
        >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5))
        >>> round(mutual_information_gap(factors.float().exp(), factors), 6)
        1.0
    """
    information = factor_information(z, factors, bins)  # (D, F)
    entropies = torch.stack([_entropy(_shares(column)) for column in factors.T])  # (F,)
    first, second = information.topk(2, dim=0).values
    return ((first - second) / entropies).mean().item()


def factor_information(z: Tensor, factors: Tensor, bins: int = 20) -> Tensor:
    """Computes the mutual information I(z_i; v_j) of each latent with each factor, in nats.

    Returns (D, F), float64. The arguments are those of `mutual_information_gap`.
    """
    _check(z, factors)
    binned = _binned(z, bins)
    rows = [[_mutual_information(a, b) for b in factors.T] for a in binned.T]
    return torch.tensor(rows, dtype=torch.float64)


def dci(z: Tensor, factors: Tensor, bins: int = 20) -> DCI:
    """Computes disentanglement, completeness and informativeness of latents.

    Informativeness is measured on every second example, which is held out of the fit.

    Arguments: those of `mutual_information_gap`, and F at least 2. The examples come in random
    order, or at least in one in which the halves of odd and even indices are alike.
    """
    _check(z, factors)
    if factors.shape[1] < 2:
        raise InputError("DCI compares factors, got one: give two or more.")
    binned = _binned(z, bins)
    x = _indicators(binned)
    values = [F.one_hot(column).double() for column in factors.T]
    importance = torch.stack([_importance(x, y, binned.shape[1]) for y in values], dim=1)
    explained = [_explained(x[::2], y[::2], x[1::2], y[1::2]) for y in values]

    total = importance.sum().clamp_min(torch.finfo(torch.float64).tiny)
    weights = importance.sum(dim=1) / total
    return DCI(
        disentanglement=(weights * _concentration(importance)).sum().item(),
        completeness=_concentration(importance.T).mean().item(),
        informativeness=sum(explained) / len(explained),
        importance=importance,
    )


def _check(z: Tensor, factors: Tensor) -> None:
    """Raises `InputError` for shapes that do not fit, or a factor that never changes."""
    if z.ndim != 2 or factors.ndim != 2 or len(z) != len(factors) or z.shape[1] < 2:
        raise InputError(
            f"Latents are (N, D) with D of at least 2 and factors (N, F), got {tuple(z.shape)} and "
            f"{tuple(factors.shape)}: flatten each example's latents to a row."
        )
    constant = (factors == factors[:1]).all(dim=0).nonzero()
    if len(constant):
        raise InputError(
            f"Factor number {int(constant[0])} takes one level only: leave it out, or give more "
            f"examples."
        )


def _binned(z: Tensor, bins: int) -> Tensor:
    """Bins 0 … of each column of z (N, D), of equal frequency as far as equal values allow."""
    z = z.double()
    shares = torch.arange(1, bins, device=z.device).double() / bins
    edges = z.quantile(shares, dim=0, interpolation="higher")  # (bins − 1, D), values of z
    columns = [
        torch.bucketize(column.contiguous(), edge.unique(), right=True)
        for column, edge in zip(z.T, edges.T, strict=True)
    ]
    return torch.stack(columns, dim=1)


def _shares(values: Tensor) -> Tensor:
    """Returns how often each level of (N,) occurs, as shares of N."""
    return values.bincount().double() / len(values)


def _entropy(shares: Tensor) -> Tensor:
    """Returns −Σ p log p in nats over all of a tensor; 0 log 0 = 0."""
    return torch.special.entr(shares).sum()


def _mutual_information(a: Tensor, b: Tensor) -> float:
    """Returns I(a; b) in nats of two columns (N,) of small integers: H(a) + H(b) − H(a, b)."""
    joint = a * (int(b.max()) + 1) + b
    information = _entropy(_shares(a)) + _entropy(_shares(b)) - _entropy(_shares(joint))
    return max(0.0, information.item())


def _indicators(binned: Tensor) -> Tensor:
    """Maps bins (N, D) to indicators (N, D · bins), float64: one 1 for each latent."""
    return rearrange(F.one_hot(binned).double(), "n d b -> n (d b)")


def _fit(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fits a ridge regression of y (N, L) on x (N, M): weights (M, L) and both means."""
    mean_x, mean_y = x.mean(dim=0), y.mean(dim=0)
    x, y = x - mean_x, y - mean_y
    gram = x.T @ x / len(x) + RIDGE * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return torch.linalg.solve(gram, x.T @ y / len(x)), mean_x, mean_y


def _importance(x: Tensor, y: Tensor, latents: int) -> Tensor:
    """Returns R_·j (D,): the variance of each latent's part of the prediction of the values y (N,
    L).
    """
    weights, mean_x, _ = _fit(x, y)
    x, weights = (
        rearrange(x - mean_x, "n (d b) -> n d b", d=latents),
        rearrange(weights, "(d b) l -> d b l", d=latents),
    )
    parts = einsum(x, weights, "n d b, d b l -> n d l")
    return parts.square().mean(dim=0).sum(dim=1)


def _explained(x: Tensor, y: Tensor, new_x: Tensor, new_y: Tensor) -> float:
    """Returns the share of the variance of new_y that a fit to x and y explains."""
    weights, mean_x, mean_y = _fit(x, y)
    error = (new_y - mean_y - (new_x - mean_x) @ weights).square().sum()
    return 1 - (error / (new_y - new_y.mean(dim=0)).square().sum()).item()


def _concentration(importance: Tensor) -> Tensor:
    """Returns 1 − H_n of every row of (M, n), each divided by its sum; 0 of a row without any."""
    totals = importance.sum(dim=1, keepdim=True)
    shares = torch.where(totals > 0, importance / totals, 1 / importance.shape[1])
    return 1 - torch.special.entr(shares).sum(dim=1) / math.log(importance.shape[1])
