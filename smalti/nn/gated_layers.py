"""The gated layers of a PixelCNN, with a vertical and a horizontal stack.

With v the vertical stack, which has the rows above, h the horizontal one, which has the row up to
the position before, and s a map of what is known from elsewhere:

    a  = V ∗ v + P s                       v ← v + gate(a)
    z  = gate(H ∗ h + L a)                 h ← h + R z
    gate(a, b) = tanh(a) · σ(b)

The link L gives h what v has seen, and s reaches both. The outputs z of all layers make the logits.

References:
    Conditional Image Generation with PixelCNN Decoders, A. van den Oord et al., 2016, arXiv
    1606.05328.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from smalti.errors import InputError
from smalti.nn.dropout import Dropout
from smalti.nn.gate import gate
from smalti.nn.masked import HorizontalConv2d, VerticalConv2d, shift_down, shift_right

__all__ = [
    "GatedLayer",
    "check_dropout",
    "check_gated_arguments",
    "gated_features",
    "init_for_relu",
    "gated_layers",
]


class GatedLayer(nn.Module):
    """One gated layer of a PixelCNN, with its vertical and its horizontal stack.

    Arguments:
        channels: C.
        kernel_size: Width of the convolutions, odd.
        dropout: Probability that an output of a gate is dropped in training.
        vertical: Whether to build the vertical stack; grids of one row need none.
        last: Whether it is the last layer, whose outputs to the next layer nobody needs.
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
        self.dropout = Dropout(dropout)

    def forward(self, v: Tensor, h: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Computes the next v and h, and z (B, C, H, W), from v, h and s (B or 1, C, H, W)."""
        a = self.context(s)
        if self.vertical is not None:
            a = a + self.vertical(v)
            v = v + self.dropout(gate(a, dim=1))
        z = self.dropout(gate(self.horizontal(h) + self.link(a), dim=1))
        return v, h if self.residual is None else h + self.residual(z), z


def init_for_relu(*layers: nn.Conv2d | nn.Linear) -> None:
    """Initializes the weights of layers that are followed by a ReLU (Kaiming).

    PyTorch's own initialization is too small by a factor of √6 for that, and training would lose
    hundreds of steps.
    """
    for layer in layers:
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")


def check_gated_arguments(
    hidden: int, layers: int, kernel_size: int, dropout: float | Literal["auto"]
) -> float:
    """Checks the arguments of `gated_layers`, and returns the dropout.

    Raises:
        InputError: If one is out of range, or the dropout is "auto".
    """
    if hidden < 1 or layers < 1:
        raise InputError(
            f"hidden and layers must be at least 1, got {hidden} and {layers}: "
            f"64 and 8 are a good start."
        )
    if kernel_size < 3 or kernel_size % 2 == 0:
        raise InputError(f"kernel_size must be odd and at least 3, got {kernel_size}: take 3 or 5.")
    return check_dropout(dropout)


def gated_layers(
    hidden: int, layers: int, kernel_size: int, dropout: float, vertical: bool
) -> nn.ModuleList:
    """Builds the L gated layers of a PixelCNN.

    Arguments:
        hidden: Channels of each stack, C.
        layers: L, number of layers.
        kernel_size: Width of the convolutions, odd.
        dropout: Probability that an output of a gate is dropped in training.
        vertical: Whether to build the vertical stack; grids of one row need none.
    """
    return nn.ModuleList(
        GatedLayer(hidden, kernel_size, dropout, vertical, last=layer == layers - 1)
        for layer in range(layers)
    )


def gated_features(
    e: Tensor, s: Tensor, layers: nn.ModuleList, skip: nn.Conv2d, first: nn.Conv2d
) -> Tensor:
    """Runs the gated layers of a PixelCNN: causal features (B, C, H, W) of each position.

    Arguments:
        e: (B, C, H, W), the embedded index of each position.
        s: (B or 1, C, H, W), the context map.
        layers: L gated layers, as `gated_layers` builds them.
        skip: 1×1 convolution of s and the outputs z of all layers, (1 + L) · C channels.
        first: 1×1 convolution after it; a ReLU follows each of the two.
    """
    v, h = shift_down(e), shift_right(e)
    skips = [s.expand_as(e)]
    for layer in layers:
        v, h, z = layer(v, h, s)
        skips.append(z)
    return first(skip(torch.cat(skips, 1)).relu()).relu()


def check_dropout(dropout: float | Literal["auto"]) -> float:
    """Checks a dropout probability, and returns it.

    Raises:
        InputError: If it is not in [0, 1), or is "auto", which only a recipe can resolve.
    """
    if dropout == "auto":
        raise InputError(
            'dropout "auto" is for recipes, where smalti fit chooses it by how much data there is: '
            "give a number, e.g. 0.3."
        )
    if not 0 <= dropout < 1:
        raise InputError(f"dropout must be at least 0 and below 1, got {dropout}: 0 drops nothing.")
    return dropout
