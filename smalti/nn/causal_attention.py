"""Causal attention over a grid: from a position to all positions before it in reading order.

Convolutions see as far as they are stacked; attention sees everything that came before at once. It
stands between gated layers and takes over the features h of their horizontal stack. With i and j
positions in reading order, e_j the embedded index at j and t_j a map of places and the context,

    q_i = Q h_i + Q' t_i
    k_j = K h_j + K' t_j + K″ e_j          v_j = V h_j + V' t_j + V″ e_j
    x_i = Σ_{j < i} softmax_j(q_i · k_j / √d) v_j
    z_i = gate(A h_i + A' t_i + O x_i)          h_i ← h_i + R z_i

h_j knows the indices before j, and e_j the one at j: keys and values know all up to j, and x_i all
before i. One more pair (k, v) is learned and stands before the first position, so that the first
has something to attend to and no other has to attend to an index.

References:
    PixelSNAIL: An Improved Autoregressive Generative Model, X. Chen, N. Mishra, M. Rohaninejad and
    P. Abbeel, 2017, arXiv 1712.09763.
    Attention Is All You Need, A. Vaswani et al., 2017, arXiv 1706.03762 (several heads).
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.nn.dropout import Dropout
from smalti.nn.gate import gate

__all__ = ["CausalAttention"]


class CausalAttention(nn.Module):
    """Causal self-attention over a grid (H, W), with a gated output, as in PixelSNAIL.

    Arguments:
        channels: C.
        heads: Number of heads, each of d = C / heads channels.
        dropout: Probability that an output of the gate is dropped in training.
        last: Whether it is the last layer, whose output h nobody needs.

    Attributes:
        widths: The channels of q, k, v and the input of the gate, which are computed together.
    """

    def __init__(self, channels: int, heads: int, dropout: float = 0.0, last: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.widths = (channels, channels, channels, 2 * channels)
        # No bias of its own where another is added anyway.
        self.own = nn.Conv2d(channels, sum(self.widths), 1, bias=False)  # Q, K, V, A
        self.context = nn.Conv2d(channels, sum(self.widths), 1)  # Q', K', V', A'
        self.index = nn.Conv2d(channels, 2 * channels, 1, bias=False)  # K″, V″
        self.start = nn.Parameter(torch.zeros(2 * channels))  # k and v before the first position
        self.output = nn.Conv2d(channels, 2 * channels, 1, bias=False)  # O
        self.residual = None if last else nn.Conv2d(channels, channels, 1, bias=False)  # R
        self.dropout = Dropout(dropout)

    def forward(self, h: Tensor, e: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the next h, and z (B, C, H, W), from h, e and t (B or 1, C, H, W)."""
        q, k, v, a = (self.own(h) + self.context(t)).split(self.widths, 1)
        kv = rearrange(torch.cat([k, v], 1) + self.index(e), "b c h w -> b (h w) c")
        # Moved on by one, so that the pair of j stands where attention up to i itself may see it.
        kv = torch.cat([self.start.to(kv).expand(len(kv), 1, -1), kv[:, :-1]], 1)

        q = rearrange(q, "b (m d) h w -> b m (h w) d", m=self.heads)
        k, v = rearrange(kv, "b n (pair m d) -> pair b m n d", pair=2, m=self.heads)
        x = rearrange(_attend(q, k, v).to(q.dtype), "b m (h w) d -> b (m d) h w", w=h.shape[-1])

        z = self.dropout(gate(a + self.output(x), dim=1))
        return h if self.residual is None else h + self.residual(z), z


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attends from each position of q to k and v up to its own number, all (B, M, N, d).

    On a CPU never in half precision: torch's gradient takes eight times as long in it there, for a
    grid of 49, and its forward pass no less.
    """
    if q.device.type == "cpu":
        dtype = torch.promote_types(q.dtype, torch.float32)
        q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
