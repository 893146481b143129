"""An exponential moving average of the weights during training.

    w̄_n = Σ_i γⁿ⁻ⁱ w_i / Σ_i γⁿ⁻ⁱ = w̄_{n−1} + (1 − γ) / (1 − γⁿ) (w_n − w̄_{n−1}),      i = 1 … n

An exponential moving average that leaves out the division has a share of γⁿ of the first weights
for ever, which are as good as random: a twentieth after 1,500 steps at γ = 0.998.

References:
    Adam: A Method for Stochastic Optimization, D. P. Kingma and J. Ba, 2014, arXiv 1412.6980,
    section 3: the same correction, of gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

__all__ = ["weight_averaging"]


def weight_averaging(decay: float) -> WeightAveraging:
    """Makes the callback that keeps an exponential moving average of the weights as the result.

    Arguments:
        decay: γ in (0, 1).
    """
    # Averaged buffers would blur the codebook against the encoder: they are copied instead.
    return WeightAveraging(use_buffers=False, multi_avg_fn=_running_average(decay))


def _running_average(
    decay: float,
) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Returns the function that takes weights into an average which forgets with `decay`."""

    @torch.no_grad()
    def average(means: Sequence[Tensor], weights: Sequence[Tensor], before: Tensor | int) -> None:
        """Takes the n-th weights into the means of those `before`, n − 1 of them."""
        share = (1 - decay) / (1 - decay ** (torch.as_tensor(before).double() + 1))
        for mean, weight in zip(means, weights, strict=True):
            mean.lerp_(weight, share.to(mean.dtype))

    return average
