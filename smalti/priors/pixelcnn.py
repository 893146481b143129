"""Gated PixelCNN: a convolutional autoregressive prior, read from top to bottom and left to right.

    p(q | c) = Π_ij p(q_ij | the rows above, the row up to j − 1, c)

Two stacks of convolutions see these two parts of the past. The vertical stack v has the rows above;
the horizontal stack h has the row up to j − 1 and, through a link, what v has. Together they see
every earlier position: there is no blind spot. With e the embedded indices and s a map of the
context, layer l computes

    v⁰ = e, shifted down by a row          h⁰ = e, shifted right by a column          ("mask A")
    a  = V_l ∗ v + P_l s                   v ← v + gate(a)
    z  = gate(H_l ∗ h + L_l a)             h ← h + R_l z
    gate(a, b) = tanh(a) · σ(b)

and the logits are two 1×1 convolutions of the skip connections S_0 s + Σ_l S_l z_l. The context
reaches v through P_l, and h through the link L_l as well.

The context map s = m(c, ij) says what the condition means *at a position*: for a clock, whether a
hand at this angle passes here. It is a small network of features of the condition and features of
the position, whose first layer multiplies the two: a hand's direction times a position is the
distance along the hand, which a sum could not give. Without a condition the same path gives the
stacks a learned sense of place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.data.conditions import Condition
from smalti.errors import InputError
from smalti.nn.gate import gate
from smalti.nn.masked import HorizontalConv2d, VerticalConv2d, shift_down, shift_right
from smalti.priors.autoregressive import AutoregressivePrior
from smalti.priors.incremental import GatedStacks, GridStepper, SkipHead, placed

__all__ = ["ContextMap", "GatedLayer", "PixelCNN"]


@registered
class PixelCNN(AutoregressivePrior):
    """The gated PixelCNN over embedded indices, conditional or not. A 1-D grid counts as one row.

    From a position it sees `layers · (kernel_size // 2) + 1` rows up, and as many columns aside.

    References:
        Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
        arXiv 1606.05328.

    Arguments:
        codebook_size: K.
        grid: (H, W) or (T,).
        condition: What it is conditioned on, if anything.
        hidden: Channels of each stack, C.
        layers: Gated layers, L.
        kernel_size: Width of the convolutions, odd.
        dropout: Probability that an output of a gate is dropped in training.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> prior = PixelCNN(codebook_size=16, grid=(4, 4), hidden=8, layers=2)
        >>> prior.sample((2, 4, 4)).shape
        torch.Size([2, 4, 4])
    """

    def __init__(
        self,
        codebook_size: int,
        grid: Sequence[int],
        condition: Condition | None = None,
        hidden: int = 64,
        layers: int = 8,
        kernel_size: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(codebook_size, grid, condition)
        _check(self.grid, hidden, layers, kernel_size, dropout)
        self.shape = (self.grid[0], self.grid[1]) if len(self.grid) == 2 else (1, self.grid[0])
        self.embedding = nn.Embedding(codebook_size, hidden)
        self.context_map = ContextMap(self.shape, condition.dim if condition else 0, hidden)
        self.layers = nn.ModuleList(
            GatedLayer(hidden, kernel_size, dropout, self.shape[0] > 1, layer == layers - 1)
            for layer in range(layers)
        )
        self.skip = nn.Conv2d((1 + layers) * hidden, hidden, 1)  # S_0, S_1, … S_L in one
        self.first = nn.Conv2d(hidden, hidden, 1)
        self.second = nn.Conv2d(hidden, codebook_size, 1)
        # Both go into a ReLU. PyTorch's own initialisation is too small by a factor of √6 for that,
        # and hundreds of steps would go by before the skips carry much.
        for convolution in (self.skip, self.first):
            nn.init.kaiming_uniform_(convolution.weight, nonlinearity="relu")

    def logits(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """Logits (B, *grid, K); see `AutoregressivePrior.logits`."""
        # (B, C, H, W), but with the channels last in memory, where convolutions are fastest.
        e = self.embedding(indices.reshape(-1, *self.shape)).permute(0, 3, 1, 2)
        s = self.context_map(self.features(context))
        v, h = shift_down(e), shift_right(e)
        skips = [s.expand_as(e)]
        for layer in self.layers:
            v, h, z = layer(v, h, s)
            skips.append(z)
        x = self.skip(torch.cat(skips, 1)).relu()
        logits = self.second(self.first(x).relu())  # (B, K, H, W)
        return logits.permute(0, 2, 3, 1).reshape(*indices.shape, self.codebook_size)

    def features(self, context: Tensor | None) -> Tensor | None:
        """Values (B,) of the condition → its features (B, dim), in the dtype of the weights."""
        if self.condition is None or context is None:
            return None
        return self.condition(context).to(self.embedding.weight)

    @torch.no_grad()
    def start(self, batch: int, context: Tensor | None = None) -> GridStepper:
        """A stepper that computes at each position what is new there, and no more."""
        s = placed(self.context_map(self.features(context)), batch)
        head = SkipHead(s, self.skip, self.first, self.second)
        return GridStepper(self.embedding, [GatedStacks(self.layers, s, head.outputs)], head)


class GatedLayer(nn.Module):
    """One layer of both stacks.

    Arguments:
        channels: C.
        kernel_size: Width of the convolutions, odd.
        dropout: Probability that an output of a gate is dropped in training.
        vertical: Whether there are rows above at all.
        last: Whether no layer follows, so that the stacks end here.
    """

    def __init__(
        self, channels: int, kernel_size: int, dropout: float, vertical: bool, last: bool
    ) -> None:
        super().__init__()
        self.context = nn.Conv2d(channels, 2 * channels, 1)
        # No bias of its own where another is added anyway.
        self.vertical = (
            VerticalConv2d(channels, 2 * channels, kernel_size, bias=False) if vertical else None
        )
        self.link = nn.Conv2d(2 * channels, 2 * channels, 1, bias=False)
        self.horizontal = HorizontalConv2d(channels, 2 * channels, kernel_size)
        self.residual = None if last else nn.Conv2d(channels, channels, 1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, v: Tensor, h: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """v, h (B, C, H, W) and s (B or 1, C, H, W) → the next v and h, and z (B, C, H, W)."""
        a = self.context(s)
        if self.vertical is not None:
            a = a + self.vertical(v)
            v = v + self.dropout(gate(a, dim=1))
        z = self.dropout(gate(self.horizontal(h) + self.link(a), dim=1))
        return v, h if self.residual is None else h + self.residual(z), z


class ContextMap(nn.Module):
    """m(c, ij): features of a condition → a map of what they mean at each position.

    Arguments:
        shape: (H, W).
        features: Number of features of the condition; 0 without one.
        channels: C.
    """

    coordinates: Tensor

    def __init__(self, shape: tuple[int, int], features: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("coordinates", _coordinates(shape), persistent=False)
        width = 2 * channels
        parts = 2 if features else 1
        self.place = nn.Linear(self.coordinates.shape[-1], parts * width)
        self.value = nn.Linear(features, parts * width) if features else None
        self.mlp = nn.Sequential(
            nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, channels)
        )

    def forward(self, features: Tensor | None) -> Tensor:
        """(B, features) → (B, C, H, W); None → (1, C, H, W)."""
        place = self.place(self.coordinates)[None]  # (1, H, W, parts · width)
        if self.value is None:
            hidden = place
        else:
            assert features is not None
            value = self.value(features)[:, None, None]  # (B, 1, 1, parts · width)
            (place, factor), (value, other) = place.chunk(2, -1), value.chunk(2, -1)
            hidden = place + value + factor * other
        return self.mlp(hidden).permute(0, 3, 1, 2)


def _coordinates(shape: tuple[int, int]) -> Tensor:
    """(H, W, P): features of the row beside features of the column."""
    rows, columns = (_axis(length) for length in shape)
    grid = (*shape, -1)
    return torch.cat([rows[:, None].expand(grid), columns[None].expand(grid)], -1)


def _axis(length: int, harmonics: int = 16) -> Tensor:
    """(length, P): 2x − 1 and cos πmx, m = 1 …, of places x in (0, 1)."""
    x = (torch.arange(length)[:, None] + 0.5) / length
    m = torch.arange(1, min(length - 1, harmonics) + 1)  # a whole basis up to 17 positions
    return torch.cat([2 * x - 1, torch.cos(math.pi * m * x)], 1)


def _check(
    grid: tuple[int, ...], hidden: int, layers: int, kernel_size: int, dropout: float
) -> None:
    if len(grid) > 2:
        raise InputError(f"A PixelCNN takes grids (H, W) or (T,), got {grid}: flatten the others.")
    if hidden < 1 or layers < 1:
        raise InputError(
            f"hidden and layers must be at least 1, got {hidden} and {layers}: "
            f"64 and 8 are a good start."
        )
    if kernel_size < 3 or kernel_size % 2 == 0:
        raise InputError(f"kernel_size must be odd and at least 3, got {kernel_size}: take 3 or 5.")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout must be at least 0 and below 1, got {dropout}.")
