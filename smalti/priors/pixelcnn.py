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

The context map s = m(c, ij) says what the condition means *at a position*, see
`smalti.priors.context`. Without a condition it gives the stacks a learned sense of place.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.data.conditions import Condition
from smalti.errors import InputError
from smalti.nn.gated import GatedLayer
from smalti.nn.masked import shift_down, shift_right
from smalti.nn.stepping import GatedStacks, SkipHead, placed
from smalti.priors.autoregressive import AutoregressivePrior
from smalti.priors.context import context_map
from smalti.priors.incremental import GridStepper

__all__ = ["PixelCNN"]


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
        self.context_map = context_map(self.shape, condition, hidden)
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
        s = self.context_map(context)
        v, h = shift_down(e), shift_right(e)
        skips = [s.expand_as(e)]
        for layer in self.layers:
            v, h, z = layer(v, h, s)
            skips.append(z)
        x = self.skip(torch.cat(skips, 1)).relu()
        logits = self.second(self.first(x).relu())  # (B, K, H, W)
        return logits.permute(0, 2, 3, 1).reshape(*indices.shape, self.codebook_size)

    @torch.no_grad()
    def start(self, batch: int, context: Tensor | None = None) -> GridStepper:
        """A stepper that computes at each position what is new there, and no more."""
        s = placed(self.context_map(context), batch)
        head = SkipHead(s, self.skip, self.first, self.second)
        return GridStepper(self.embedding, [GatedStacks(self.layers, s, head.outputs)], head)


def _check(
    grid: tuple[int, ...], hidden: int, layers: int, kernel_size: int, dropout: float
) -> None:
    if len(grid) > 2:
        raise InputError(
            f"A PixelCNN takes grids (H, W) or (T,), got {grid}: for several indices a position "
            f"take DepthPixelCNN."
        )
    if hidden < 1 or layers < 1:
        raise InputError(
            f"hidden and layers must be at least 1, got {hidden} and {layers}: "
            f"64 and 8 are a good start."
        )
    if kernel_size < 3 or kernel_size % 2 == 0:
        raise InputError(f"kernel_size must be odd and at least 3, got {kernel_size}: take 3 or 5.")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout must be at least 0 and below 1, got {dropout}.")
