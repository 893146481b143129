"""Augments training examples by mixing each with another one, as mixup does.

    x' = μ + √(1 − w) (x − μ) + √w (x̃ − μ)          w uniform in [0, share]

where x̃ is the example before it in the batch, whose order is random, and μ the mean of the batch.
Roots, unlike the weights 1 − w and w of mixup, keep mean and covariance, so that codebooks and
networks learn the scales that they will meet. What is learned from few examples with many weights
follows each of them less.

References:
    mixup: Beyond Empirical Risk Minimization, H. Zhang, M. Cisse, Y. N. Dauphin and D. Lopez-Paz,
    2018, ICLR, arXiv 1710.09412.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mix_examples"]


def mix_examples(x: Tensor, share: float) -> Tensor:
    """Mixes each example of a batch (B, C) with a random share of another one, as mixup does.

    Mean and covariance of the batch stay the same. The shares are drawn by torch's global generator
    of the device of x.

    Arguments:
        x: The batch.
        share: The largest share w of the other example, in [0, 0.5]; w is uniform.

    Example:
        >>> x = torch.randn(10_000, 3) * torch.tensor([1.0, 2.0, 4.0]) + 5
        >>> y = mix_examples(x, 0.5)
        >>> torch.allclose(y.mean(0), x.mean(0), atol=0.1), bool((y != x).all())
        (True, True)
    """
    mean = x.mean(0)
    w = share * torch.rand(len(x), 1, device=x.device)
    return (mean + (1 - w).sqrt() * (x - mean) + w.sqrt() * (x.roll(1, 0) - mean)).to(x.dtype)
