"""Embeddings of the tokens of a layout, and the linear layers that give logits of them.

What a network of attention sees of token i is what it is, and where it lies:

    e_i = T_c(i)[q_i] + Σ_a P_a[x_ia]

with c(i) the codebook of the token, so that the same number of two codebooks is two things, and
x_i its coordinates in the layout: row, column and depth, of each level its own. Codebooks may
differ in size; where one is smaller than the largest, the logits of what it lacks are the lowest
number there is: their probability is 0, and differences of two such are no NaN, as of −∞.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.layout import Layout

__all__ = ["TokenEmbedding", "TokenLogits", "codebook_numbers"]

FEW = 16  # rows


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
        with torch.device("cpu"):  # numbers, also of a model that has none
            offsets = torch.tensor(starts[:-1])[codebook_numbers(layout)]  # (L,)
            places = _axes(layout)  # (L, A)
            lengths = (places.amax(0) + 1).tolist()
            places += torch.tensor([0, *itertools.accumulate(lengths)][:-1], dtype=torch.int64)
        # One table for all axes.
        self.axes = nn.Embedding(sum(lengths), channels) if lengths else None
        device = self.tokens.weight.device
        self.register_buffer("offsets", offsets.to(device), persistent=False)
        self.register_buffer("places", places.to(device), persistent=False)
        with torch.no_grad():  # of the sum a variance of about 1
            self.tokens.weight.mul_(math.sqrt(0.5))
            if self.axes is not None:
                self.axes.weight.mul_(math.sqrt(0.5 / len(lengths)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Embeds tokens (B, L), int64, below 0 for what is none, to (B, L, C)."""
        return self.values(tokens, self.offsets) + self.positions()

    def values(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        """Embeds what tokens (...) are, with the offsets of their codebooks, to (..., C)."""
        specials = self.tokens.num_embeddings + tokens
        return self.tokens(torch.where(tokens < 0, specials, tokens + offsets))

    def positions(self) -> Tensor:
        """Returns the embedding of the places of all tokens, (L, C)."""
        if self.axes is None:
            return self.tokens.weight.new_zeros(len(self.places), self.tokens.embedding_dim)
        return self.axes(self.places).sum(1)


class TokenLogits(nn.Module):
    """Computes the logits of each token from its features: (B, L, C) → (B, L, K).

    Each codebook has a linear layer of its own. K is the size of the largest codebook; beyond the
    size of a smaller one, logits are the lowest number of their dtype.

    Arguments:
        layout: The layout of the tokens.
        channels: C.
    """

    numbers: Tensor

    def __init__(self, layout: Layout, channels: int) -> None:
        super().__init__()
        self.largest = layout.largest
        self.layers = nn.ModuleList(nn.Linear(channels, size) for size in layout.sizes)
        self.register_buffer("numbers", codebook_numbers(layout), persistent=False)  # (L,)

    def forward(self, features: Tensor) -> Tensor:
        """Computes logits (B, L, K) of all tokens from their features (B, L, C)."""
        if len(self.layers) == 1:
            return self.layers[0](features)
        here = [(self.numbers == number).nonzero()[:, 0] for number in range(len(self.layers))]
        logits = [self.of_codebook(features[:, own], n) for n, own in enumerate(here)]
        return torch.cat(logits, 1)[:, torch.cat(here).argsort()]

    def at(self, features: Tensor, where: Tensor) -> Tensor:
        """Computes logits (M, K) of the M tokens where a mask (B, L) says so, and of no others."""
        chosen = features[where]
        if len(self.layers) == 1:
            # Products of a few rows alone are rounded otherwise than as parts of many.
            many = F.pad(chosen, (0, 0, 0, max(FEW - len(chosen), 0)))
            return self.layers[0](many)[: len(chosen)]
        numbers = self.numbers.expand(where.shape)[where]  # (M,)
        here = [(numbers == number).nonzero()[:, 0] for number in range(len(self.layers))]
        logits = [self.of_codebook(chosen[own], n) for n, own in enumerate(here)]
        return torch.cat(logits)[torch.cat(here).argsort()]

    def of_codebook(self, features: Tensor, number: int) -> Tensor:
        """Computes logits (..., K) of a codebook by its number from features (..., C)."""
        logits = self.layers[number](features)
        pad = (0, self.largest - logits.shape[-1])
        return F.pad(logits, pad, value=torch.finfo(logits.dtype).min) if pad[1] else logits


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


def _axes(layout: Layout) -> Tensor:
    """Numbers the places of tokens along each axis from 0, those of each level apart: (L, A).

    Axes along which all tokens have one place are left out, as there is nothing to tell.
    """
    x, columns = layout.coordinates(), []
    for axis in range(1, x.shape[1]):
        places, numbers = x[:, [0, axis]].unique(dim=0, return_inverse=True)
        columns += [numbers] if len(places) > 1 else []
    return torch.stack(columns, 1) if columns else x[:, :0]
