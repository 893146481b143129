"""Normalizes vectors to unit length, with a bounded gradient.

    u = x / ‖x‖          g_x = (g − ⟨g, u⟩ u) / max(‖x‖, s)

The derivative of a direction grows without bound where a vector is short: at ‖x‖ = 1e-12 a gradient
would be multiplied by 1e12, and one such vector in a batch would decide what the encoder learns.
So, for the gradient alone, no vector counts as shorter than s = 0.01. The direction itself is that
of x however short x is, as long as it has one.
"""

import torch
from torch import Tensor

__all__ = ["LONG", "NOTHING", "SHORT", "limit_length", "normalize_vectors"]

NOTHING = 1e-12  # the largest coordinate of a vector that has no direction
LONG = 1e18  # a coordinate whose square and whose products float32 still holds
SHORT = 0.01  # s, so that no gradient grows more than a hundredfold


def normalize_vectors(x: Tensor) -> Tensor:
    """Normalizes vectors (..., D) to unit length, with a bounded gradient: ‖g_x‖ ≤ 100 ‖g‖.

    A vector without a direction (no coordinate above 1e-12) gives 0 and has no gradient.

    Example:
        >>> normalize_vectors(torch.tensor([[3.0, 4.0], [3e-9, 4e-9], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    # Neither tiny nor huge vectors survive the squares of a norm, so they are scaled first; u does
    # not depend on it. Both branches of a `where` must have finite gradients.
    scale = x.detach().abs().amax(-1, keepdim=True)
    nothing = scale <= NOTHING
    v = torch.where(nothing, 1.0, x / torch.where(nothing, 1.0, scale))
    length = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    u = torch.where(nothing, 0.0, v / length)
    if not (torch.is_grad_enabled() and x.requires_grad):
        return u
    share = (length.detach() * scale / SHORT).clamp(max=1.0)
    return u.detach() + share * (u - u.detach())


def limit_length(x: Tensor) -> Tensor:
    """Scales vectors (..., D) down to coordinates of at most 1e18; leaves shorter ones as they are.

    Of longer ones the scores against codewords would be ∞ − ∞ in float32. The nearest codeword of
    vectors so long depends on the direction alone, which stays.

    Example:
        >>> limit_length(torch.tensor([[3e38, -3e38], [3.0, 4.0]]))
        tensor([[ 1.0000e+18, -1.0000e+18],
                [ 3.0000e+00,  4.0000e+00]])
    """
    size = x.detach().abs().amax(-1, keepdim=True)
    return x / (size / LONG).clamp(min=1.0)
