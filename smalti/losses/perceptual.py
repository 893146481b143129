"""The distance of two signals in the features of a network: of perceptual losses and reports.

With φ_l(x)_p the features of layer l at position p, made a vector of length 1 over the channels,

    d(x, x̂) = mean_l mean_p ‖φ_l(x)_p − φ_l(x̂)_p‖²

It is LPIPS without its learned weights of channels, and the mean over layers instead of their sum:
0 for equal signals, and at most 2 where features are not negative.

References:
    The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, R. Zhang et al., 2018,
    arXiv 1801.03924, equation 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["feature_distance"]

EPSILON = 1e-10  # under the root, of LPIPS


def feature_distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Computes the distance of features of two batches of signals, (B,), in float32.

    Arguments:
        a: The features (B, C_l, *size_l) of each layer.
        b: Those of the other signals.

    Example:
        >>> one, other = torch.tensor([[[3.0], [0.0]]]), torch.tensor([[[0.0], [5.0]]])
        >>> feature_distance([one], [other]), feature_distance([one], [2 * one])
        (tensor([2.]), tensor([0.]))
    """
    layers = [
        (_unit(of_a) - _unit(of_b)).square().sum(1).flatten(1).mean(1)
        for of_a, of_b in zip(a, b, strict=True)
    ]
    return torch.stack(layers).mean(0)


def _unit(features: Tensor) -> Tensor:
    """Divides the features of each position by their length."""
    with torch.autocast(features.device.type, enabled=False):
        wide = features.float()
        return wide / (wide.square().sum(1, keepdim=True) + EPSILON).sqrt()
