"""Key-value cache: incremental decoding of attention.

Each attention caches the keys and values of all earlier positions, with room for the whole grid. A
position adds one pair and attends to those there are. So a step costs the layers of one position
and the attention itself, which is linear in the number of positions seen.

The pair of a position needs the index there. All that does not depend on it is computed when the
position is entered, in one product for q, k, v and the gate; the index's part is added when the
next position is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.nn.incremental_decoder import LayerCache, PointwiseConv, weight_matrix

if TYPE_CHECKING:
    from smalti.nn.causal_attention import CausalAttention

__all__ = ["AttentionCache"]


class AttentionCache(LayerCache):
    """Caches the keys and values of causal attention: M heads of d channels, N = H·W positions.

    Arguments:
        attention: The layer.
        t: (H, W, B, C), the map of coordinates and context.
        output: The tensor (B, C) that its output z is written to.
    """

    def __init__(self, attention: CausalAttention, t: Tensor, output: Tensor) -> None:
        self.t, self.z = t, output
        rows, self.columns, batch, channels = t.shape
        self.own, self.context = weight_matrix(attention.own), PointwiseConv.of(attention.context)
        self.index, self.output = weight_matrix(attention.index), weight_matrix(attention.output)
        self.residual = None if attention.residual is None else weight_matrix(attention.residual)

        heads = (attention.heads, channels // attention.heads)
        # Slot n has the pair of position n − 1, slot 0 the one that stands before the first.
        self.pairs = t.new_zeros(2, batch, heads[0], rows * self.columns, heads[1])
        self.pairs[:, :, :, 0] = attention.start.unflatten(0, (2, 1, *heads))
        self.keys, self.values = self.pairs
        # What t adds along the row.
        self.terms = t.new_zeros(self.columns, batch, sum(attention.widths))
        # At one position: q, k, v and the gate, and the pair of the one before once it is whole.
        self.now = t.new_zeros(batch, sum(attention.widths))
        q, self.kv, self.a = self.now.split((channels, 2 * channels, 2 * channels), 1)
        self.q = q.unflatten(1, heads).unsqueeze(2)  # (B, M, 1, d)
        self.halves = self.a.chunk(2, 1)
        self.whole = t.new_zeros(batch, 2 * channels)
        self.pair = self.whole.unflatten(1, (2, *heads)).movedim(1, 0)  # (2, B, M, d)

    def enter_row(self, i: int, v: Tensor) -> Tensor:
        """See `LayerCache.enter_row`; v is returned unchanged."""
        torch.add(self.t[i] @ self.context.weight, self.context.bias, out=self.terms)
        return v

    def step(self, i: int, j: int, h: Tensor, e: Tensor) -> Tensor:
        """See `LayerCache.step`."""
        n = i * self.columns + j
        if n:
            torch.addmm(self.kv, e, self.index, out=self.whole)
            self.pairs.select(3, n).copy_(self.pair)
        torch.addmm(self.terms[j], h, self.own, out=self.now)
        keys, values = self.keys.narrow(2, 0, n + 1), self.values.narrow(2, 0, n + 1)
        x = F.scaled_dot_product_attention(self.q, keys, values)  # (B, M, 1, d)
        self.a.addmm_(x.flatten(1), self.output)
        torch.mul(self.halves[0].tanh_(), self.halves[1].sigmoid_(), out=self.z)
        return h if self.residual is None else torch.addmm(h, self.z, self.residual)
