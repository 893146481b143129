"""Embeddings of the tokens of a layout, and the linear layers that give logits of them.

What a network of attention sees of token i is what it is, and where it lies:

    e_i = T_c(i)[q_i] + Σ_a P_a[x_ia]

with c(i) the codebook of the token, so that the same number of two codebooks is two things, and
x_i its coordinates in the layout: level, row, column, depth. Codebooks may differ in size; where
one is smaller than the largest, the logits of what it lacks are −∞.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.layout import Layout

__all__ = ["TokenEmbedding", "TokenLogits"]


class TokenEmbedding(nn.Module):
    """Embeds the tokens of a layout and their places: (B, L) → (B, L, C).

    Arguments:
        layout: The layout of the tokens.
        channels: C.
        specials: How many symbols there are besides the tokens, such as a mask; in place of a
            token they are written −1, −2 …

    Example:
        >>> embedding = TokenEmbedding(Layout(((2, 2),), ((8,),)), 16, specials=1)
        >>> embedding(torch.tensor([[0, 7, -1, 3]])).shape
        torch.Size([1, 4, 16])
    """

    offsets: Tensor
    places: Tensor

    def __init__(self, layout: Layout, channels: int, specials: int = 0) -> None:
        super().__init__()
        starts = [0, *itertools.accumulate(layout.sizes)]
        self.tokens = nn.Embedding(starts[-1] + specials, channels)
        offsets = torch.tensor(starts[:-1])[codebook_numbers(layout)]
        self.register_buffer("offsets", offsets, persistent=False)  # (L,)
        # One table for all axes; of an axis with one place nothing is to be told.
        x = layout.coordinates()
        lengths = (x.amax(0) + 1).tolist()
        kept = [axis for axis, length in enumerate(lengths) if length > 1]
        starts = [0, *itertools.accumulate(lengths[axis] for axis in kept)]
        self.axes = nn.Embedding(max(starts[-1], 1), channels)
        places = x[:, kept] + torch.tensor(starts[:-1], dtype=torch.int64)
        self.register_buffer("places", places, persistent=False)  # (L, A)
        with torch.no_grad():
            for table in (self.tokens, self.axes):
                table.weight.mul_(math.sqrt(0.5))  # of the sum a variance of about 1
            self.axes.weight.div_(math.sqrt(max(len(kept), 1)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Embeds tokens (B, L), int64, below 0 for what is none, to (B, L, C)."""
        return self.values(tokens, self.offsets) + self.positions()

    def values(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        """Embeds what tokens (...) are, with the offsets of their codebooks, to (..., C)."""
        specials = self.tokens.num_embeddings + tokens
        return self.tokens(torch.where(tokens < 0, specials, tokens + offsets))

    def positions(self) -> Tensor:
        """Returns the embedding of the places of all tokens, (L, C)."""
        return self.axes(self.places).sum(1)


class TokenLogits(nn.Module):
    """Computes the logits of each token from its features: (B, L, C) → (B, L, K).

    Each codebook has a linear layer of its own. K is the size of the largest codebook; beyond the
    size of a smaller one, logits are −∞.

    Arguments:
        layout: The layout of the tokens.
        channels: C.
    """

    numbers: Tensor

    def __init__(self, layout: Layout, channels: int) -> None:
        super().__init__()
        self.largest = layout.largest
        self.layers = nn.ModuleList(nn.Linear(channels, size) for size in layout.sizes)
        self.register_buffer("numbers", codebook_numbers(layout), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Computes logits (B, L, K) of all tokens from their features (B, L, C)."""
        if len(self.layers) == 1:
            return self.layers[0](features)
        logits = features.new_full((*features.shape[:-1], self.largest), -torch.inf)
        for number, layer in enumerate(self.layers):
            here = self.numbers == number
            given = layer(features[:, here])
            pad = (0, self.largest - given.shape[-1])
            logits[:, here] = F.pad(given, pad, value=-torch.inf).to(logits.dtype)
        return logits


def codebook_numbers(layout: Layout) -> Tensor:
    """Returns the number of the codebook of each token, (L,) int64, counted over all levels.

    Example:
        >>> codebook_numbers(Layout(((2,), (2,)), ((8,), (8, 4)))).tolist()
        [0, 0, 1, 2, 1, 2]
    """
    numbers, first = [], 0
    for shape, sizes in zip(layout.shapes, layout.codebook_sizes, strict=True):
        own = torch.arange(len(sizes)) + first
        numbers.append(own.repeat(math.prod(shape) // len(sizes)))
        first += len(sizes)
    return torch.cat(numbers)
