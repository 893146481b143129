"""PixelSNAIL: gated convolutions with attention between them.

    p(q | c) = Π_ij p(q_ij | the rows above, the row up to j − 1, c)

The stacks of a PixelCNN see the past only as far as their convolutions reach, and what is far away
only through many layers. Here blocks of a few gated layers each end in causal attention over *all*
earlier positions: the convolutions gather what is near, the attention fetches what matters from
anywhere. With v, h the two stacks and s the context map (see `smalti.priors.pixelcnn`), e the
embedded indices and t = s + place, block b computes

    v, h, z_bl = gated layer l (v, h, s)          l = 1 … L
    h, z_b0 = causal attention (h, e, t)

and the logits are two 1×1 convolutions of the skip connections of s and all z. The attention also
knows *where* it is and looks: place_ij = r_i + c_j, a learned vector a row and one a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.conditions import Condition
from smalti.errors import InputError
from smalti.nn.causal_attention import CausalAttention
from smalti.nn.gated_layers import GatedLayer, check_dropout, init_for_relu
from smalti.nn.incremental_decoder import GatedStacks, LayerCache, SkipHead, to_hwbc
from smalti.nn.kv_cache import AttentionCache
from smalti.nn.masked import shift_down, shift_right
from smalti.priors.autoregressive import AutoregressivePrior
from smalti.priors.base import evaluation_view
from smalti.priors.context import context_map
from smalti.priors.gated_prior import rows_and_columns
from smalti.priors.incremental import GridStepper

__all__ = ["PixelSNAIL", "SnailBlock"]


@registered
class PixelSNAIL(AutoregressivePrior):
    """PixelSNAIL over grids of indices: gated convolutions and attention, conditional or not.

    Every index can see all before it, however far away. A 1-D grid counts as one row.

    References:
        PixelSNAIL: An Improved Autoregressive Generative Model, X. Chen, N. Mishra, M. Rohaninejad
        and P. Abbeel, 2017, arXiv 1712.09763.

    Arguments:
        codebook_size: K.
        grid: (H, W) or (T,).
        condition: The condition, such as a label; None for an unconditional prior.
        hidden: Channels of each stack, C, a multiple of heads.
        blocks: Blocks, each of gated layers and one attention.
        layers: Gated layers a block, L, 3×3.
        heads: Heads of each attention.
        dropout: Probability that an output of a gate is dropped in training; in recipes also
            "auto".

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> prior = PixelSNAIL(codebook_size=16, grid=(4, 4), hidden=8, blocks=1, layers=2)
        >>> prior.sample(2).shape
        torch.Size([2, 4, 4])
    """

    def __init__(
        self,
        codebook_size: int,
        grid: Sequence[int],
        condition: Condition | None = None,
        hidden: int = 64,
        blocks: int = 2,
        layers: int = 4,
        heads: int = 4,
        dropout: float | Literal["auto"] = 0.0,
    ) -> None:
        super().__init__(codebook_size, grid, condition)
        dropout = _check_arguments((hidden, blocks, layers, heads), dropout)
        self.shape = rows_and_columns("PixelSNAIL", self.grid)
        self.embedding = nn.Embedding(codebook_size, hidden)
        self.context_map = context_map(self.shape, condition, hidden)
        self.row, self.column = (nn.Parameter(torch.randn(length, hidden)) for length in self.shape)
        self.blocks = nn.ModuleList(
            SnailBlock(hidden, layers, heads, dropout, self.shape[0] > 1, block == blocks - 1)
            for block in range(blocks)
        )
        self.skip = nn.Conv2d((1 + blocks * (layers + 1)) * hidden, hidden, 1)
        self.first = nn.Conv2d(hidden, hidden, 1)
        self.second = nn.Conv2d(hidden, codebook_size, 1)
        init_for_relu(self.skip, self.first)

    def logits(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns logits (B, *grid, K); see `AutoregressivePrior.logits`."""
        # (B, C, H, W), but with the channels last in memory, where convolutions are fastest.
        e = self.embedding(indices.reshape(-1, *self.shape)).permute(0, 3, 1, 2)
        s, t = self.maps(context)
        v, h = shift_down(e), shift_right(e)
        skips = [s.expand_as(e)]
        for block in self.blocks:
            v, h, z = block(v, h, e, s, t)
            skips += z
        x = self.skip(torch.cat(skips, 1)).relu()
        logits = self.second(self.first(x).relu())  # (B, K, H, W)
        return logits.permute(0, 2, 3, 1).reshape(*indices.shape, self.codebook_size)

    def maps(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Computes s and t, (B or 1, C, H, W), from values (B, *shape) of the condition, if any."""
        s = self.context_map(self.context_of(context))
        place = self.row[:, None] + self.column  # (H, W, C)
        return s, s + place.permute(2, 0, 1)

    @torch.no_grad()
    def start(self, batch: int, context: Tensor | None = None) -> GridStepper:
        """Returns a stepper that computes each position once."""
        s, t = (to_hwbc(each, batch) for each in evaluation_view(self).maps(context))
        head = SkipHead(s, self.skip, self.first, self.second)
        outputs, parts = iter(head.outputs), list[LayerCache]()
        for block in (cast("SnailBlock", block) for block in self.blocks):
            zs = [next(outputs) for _ in block.layers]
            parts.append(GatedStacks(block.layers, s, zs))
            parts.append(AttentionCache(block.attention, t, next(outputs)))
        return GridStepper(self.embedding, parts, head)


class SnailBlock(nn.Module):
    """A block of PixelSNAIL: gated layers, then attention.

    Arguments:
        channels: C.
        layers: Gated layers, L, 3×3.
        heads: Heads of the attention.
        dropout: Probability that an output of a gate is dropped in training.
        vertical: Whether to build the vertical stack; grids of one row need none.
        last: Whether it is the last block, whose outputs to the next block nobody needs.
    """

    def __init__(
        self, channels: int, layers: int, heads: int, dropout: float, vertical: bool, last: bool
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            GatedLayer(channels, 3, dropout, vertical, last=False) for _ in range(layers)
        )
        self.attention = CausalAttention(channels, heads, dropout, last)

    def forward(
        self, v: Tensor, h: Tensor, e: Tensor, s: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Computes the next v and h, and all z, from v, h, e (B, C, H, W) and s, t (B or 1, …)."""
        zs = []
        for layer in self.layers:
            v, h, z = layer(v, h, s)
            zs.append(z)
        h, z = self.attention(h, e, t)
        return v, h, [*zs, z]


def _check_arguments(sizes: tuple[int, int, int, int], dropout: float | Literal["auto"]) -> float:
    """Checks (hidden, blocks, layers, heads) and the dropout, and returns the dropout.

    Raises:
        InputError: If one is out of range.
    """
    hidden, blocks, layers, heads = sizes
    if min(sizes) < 1 or hidden % heads:
        raise InputError(
            f"hidden, blocks, layers and heads must be at least 1 and hidden a multiple of heads, "
            f"got {hidden}, {blocks}, {layers} and {heads}: 64, 2, 4 and 4 are a good start."
        )
    return check_dropout(dropout)
