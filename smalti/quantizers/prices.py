"""Balances assignments by optimal transport: prices of codewords that even out their shares.

    minimise Σ_ik p_ik (c_ik + T log p_ik)     where Σ_k p_ik = 1, Σ_i p_ik = m

It is optimal transport with entropy: c_ik is what codeword k costs vector i, and m the share of a
codeword. The plan is p_ik ∝ exp(−(c_ik + λ_k) / T) over k, with a price λ_k for each codeword, and
Sinkhorn's iterations find the prices:

    λ_k ← λ_k + ω T log(n_k / m)        n_k = Σ_i softmax_k(−(c_ik + λ_k) / T)

They are computed as logarithms, so that a codeword which is far from all vectors comes down to them
at once. At a low T they take long: steps half as far again, ω = 1.5, need about half as many, and a
T that falls from iteration to iteration brings them near first. A price that may not be below 0
leaves a codeword with less than its share.

References:
    Sinkhorn Distances: Lightspeed Computation of Optimal Transport, M. Cuturi, 2013, NeurIPS, arXiv
    1306.0895.
    Overrelaxed Sinkhorn-Knopp Algorithm for Regularized Optimal Transport, A. Thibault, L. Chizat,
    C. Dossal and N. Papadakis, 2017, arXiv 1711.01851.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

__all__ = ["sinkhorn_prices"]

FURTHER = 1.5  # ω


def sinkhorn_prices(
    costs: Iterable[Tensor],
    temperatures: Sequence[float | Tensor],
    share: float,
    prices: Tensor,
    least: float = -math.inf,
) -> Tensor:
    """Computes prices λ (K,) that, added to the costs, give each codeword its share of the vectors.

    They are the dual variables of entropic optimal transport, found by Sinkhorn's iterations.

    Arguments:
        costs: The costs c, such as squared distances, in blocks (n, K) of vectors; gone over once
            in each iteration.
        temperatures: T > 0 of each iteration, in units of the costs.
        share: m > 0, the number of vectors that each codeword should get.
        prices: The initial prices (K,).
        least: The lower bound of prices: 0 if a codeword may get less than its share.

    Example:
        >>> costs = torch.tensor([[0.0, 1.0], [0.0, 2.0]])  # both vectors are nearer to the first
        >>> prices = sinkhorn_prices([costs], [0.01] * 99, 1.0, torch.zeros(2))
        >>> (costs + prices).argmin(1)
        tensor([1, 0])
    """
    for temperature in temperatures:
        got = torch.full_like(prices, -torch.inf)  # log n (K,)
        for block in costs:
            plan = torch.log_softmax((block + prices).div_(-temperature), 1)
            got = torch.logaddexp(got, plan.logsumexp(0))
        change = FURTHER * temperature * (got - math.log(share))
        prices = (prices + change).clamp(min=least)
    return prices
