"""Embeddings of several indices per position, each in a table of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["DepthEmbedding"]


class DepthEmbedding(nn.Embedding):
    """Embeds Q indices per position, each with a table of its own: (..., Q) → (..., Q, C).

    Weights are initialized so that the sum of a position's Q embeddings has variance 1.

    Arguments:
        depth: Q.
        codebook_size: K.
        channels: C.

    Example:
        >>> embedding = DepthEmbedding(depth=2, codebook_size=16, channels=8)
        >>> e = embedding(torch.tensor([[3, 5]]))
        >>> torch.equal(e[0, 1], embedding.table(1)[5])
        True
    """

    offsets: Tensor

    def __init__(self, depth: int, codebook_size: int, channels: int) -> None:
        super().__init__(depth * codebook_size, channels)
        self.codebook_size = codebook_size
        with torch.no_grad():
            self.weight.mul_(depth**-0.5)
        self.register_buffer("offsets", codebook_size * torch.arange(depth), persistent=False)

    def forward(self, indices: Tensor) -> Tensor:
        """Embeds indices (..., Q), int64 in [0, K), to (..., Q, C)."""
        return super().forward(indices + self.offsets)

    def table(self, d: int) -> Tensor:
        """Returns the table (K, C) of the indices at place d."""
        return self.weight[d * self.codebook_size :][: self.codebook_size]
