"""What a condition says to a network of attention over tokens: at each of them, and before them.

A vector and grids become features at each token, by the context map of its level's grid (see
`smalti.priors.context`). A sequence becomes vectors that stand before the tokens, the prefix: each
element is mapped to the width of the network, and waves of its number say which it is.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from smalti.conditions import Condition, Context, ContextSizes
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.nn.sinusoids import sinusoidal_positions
from smalti.priors.context import map_of_sizes

__all__ = ["Prefix", "TokenContext", "sequence_places"]


class Prefix(NamedTuple):
    """What stands before the tokens of B signals.

    Attributes:
        vectors: (B, T, C), or None for nothing.
        valid: (B, T), bool: which of them are there; all if None.
    """

    vectors: Tensor | None = None
    valid: Tensor | None = None

    @property
    def length(self) -> int:
        """Returns T."""
        return 0 if self.vectors is None else self.vectors.shape[1]

    def followed_by(self, x: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Returns vectors, rotations and causal mask of the prefix and x, as a decoder takes them.

        Arguments:
            x: (B, S, C).
            rotation: (2, S, d), of `rotary_tables`; the prefix is not rotated.
        """
        if self.vectors is None:
            return x, rotation, None
        x = torch.cat([self.vectors, x], 1)
        still = torch.zeros_like(rotation[:, :1])
        still[0] = 1
        rotation = torch.cat([still.expand(-1, self.length, -1), rotation], 1)
        if self.valid is None:
            return x, rotation, None
        n = x.shape[1]
        causal = torch.ones(n, n, dtype=torch.bool, device=x.device).tril()
        itself = torch.eye(n, dtype=torch.bool, device=x.device)  # of what is not there, too
        return x, rotation, self._keys(n)[:, None, None] & causal | itself

    def seen_from(self, place: int) -> Tensor | None:
        """Returns which places up to one after the prefix that one sees, (B, 1, 1, place + 1)."""
        return None if self.valid is None else self._keys(place + 1)[:, None, None]

    def _keys(self, n: int) -> Tensor:
        """Returns which of the first n places are there, (B, n), bool."""
        assert self.valid is not None
        rest = self.valid.new_ones(len(self.valid), n - self.length)
        return torch.cat([self.valid, rest], 1)


class TokenContext(nn.Module):
    """Maps a context to features of each token (B, L, C), and to a prefix.

    Arguments:
        layout: The layout of the tokens.
        condition: The condition that gives the context; None for an unconditional prior.
        channels: C.

    Raises:
        InputError: If a grid of the layout has more than two dimensions.

    Example:
        >>> from smalti.conditions import Label
        >>> label, layout = Label(["cat", "dog"]), Layout(((2, 2),), ((8,),))
        >>> TokenContext(layout, label, 16)(label(torch.tensor([1, 0, 1]))).shape
        torch.Size([3, 4, 16])
    """

    nothing: Tensor

    def __init__(self, layout: Layout, condition: Condition | None, channels: int) -> None:
        super().__init__()
        sizes = ContextSizes() if condition is None else condition.sizes
        self.layout, self.channels = layout, channels
        if max(map(len, layout.grids)) > 2:
            raise InputError(
                f"This prior takes grids of at most two dimensions, got {layout.grids}: flatten "
                f"the others."
            )
        given = bool(sizes.vector or sizes.map)
        shapes = [(1, 1, *grid)[-2:] for grid in layout.grids] if given else []
        self.levels = nn.ModuleList(map_of_sizes((h, w), sizes, channels) for h, w in shapes)
        self.sequence = nn.Linear(sizes.sequence, channels) if sizes.sequence else None
        self.register_buffer("nothing", torch.zeros(1, 1, 1), persistent=False)

    def forward(self, context: Context) -> Tensor:
        """Maps a context to features (B, L, C); 0, of shape (1, 1, 1), where it says nothing."""
        if not len(self.levels):
            return self.nothing
        parts = []
        for level, sizes in zip(self.levels, self.layout.codebook_sizes, strict=True):
            of_position = rearrange(level(context), "b c h w -> b (h w) c")
            parts.append(of_position.repeat_interleave(len(sizes), 1))
        return torch.cat(parts, 1)

    def prefix(self, context: Context) -> Prefix:
        """Returns what a context's sequence becomes before the tokens; nothing if there is none."""
        if self.sequence is None:
            return Prefix()
        assert context.sequence is not None
        vectors = self.sequence(context.sequence.to(self.sequence.weight))
        places = sequence_places(vectors.shape[1], vectors.shape[2], _wide(vectors))
        return Prefix(vectors + places.to(vectors), context.mask)


def sequence_places(length: int, channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns sinusoidal position embeddings of a mean square of 1 / 4, (T, C)."""
    return sinusoidal_positions(length, channels, dtype) * math.sqrt(0.5)


def _wide(x: Tensor) -> torch.dtype:
    """Returns what tables for x are computed in: float64 for float64, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32
