"""Scaled dot-product attention, by the faster of two ways to compute it.

    x_i = Σ_j softmax_j(q_i · k_j / √d) v_j

torch's fused kernel needs no memory for the weights. On a CPU its gradient is slow in half
precision where there are few positions. There the two matrix products are taken by themselves: 49
positions take a sixth of the time. The softmax is in float32 both ways.

References:
    Attention Is All You Need, A. Vaswani et al., 2017, arXiv 1706.03762.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["attend"]

HALF = (torch.bfloat16, torch.float16)
FEW = 512  # positions; of 1,024 the fused kernel is as fast


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """Computes the attention of queries to keys and values: (..., N, d).

    Arguments:
        q: Queries, (..., N, d).
        k: Keys, (..., M, d).
        v: Values, (..., M, d).
        mask: Broadcasts to (..., N, M): bool, True where a query may attend, or numbers that are
            added to the logits. None for no mask.
        causal: Whether query i attends only to keys up to i; then mask is None, and N equals M.

    Example:
        >>> q, k, v = torch.randn(3, 2, 4, 8).unbind()
        >>> attend(q, k, v, causal=True)[:, 0].allclose(v[:, 0])
        True
    """
    if q.device.type != "cpu" or k.shape[-2] > FEW or not _is_half(q):
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)
    if causal:
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
    weights = ((q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)).float()
    if mask is not None and mask.dtype == torch.bool:
        weights = weights.masked_fill(~mask, -torch.inf)
    elif mask is not None:
        weights = weights + mask
    return weights.softmax(-1).to(v.dtype) @ v


def _is_half(q: Tensor) -> bool:
    """Returns whether matrix products with a tensor on the CPU are in half precision."""
    autocast = torch.is_autocast_enabled("cpu")
    return (torch.get_autocast_dtype("cpu") if autocast else q.dtype) in HALF
