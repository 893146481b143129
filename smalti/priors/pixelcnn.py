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
from typing import Literal

import torch
from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.conditions import Condition
from smalti.nn.gated_layers import init_for_relu
from smalti.priors.gated_prior import GatedPrior, rows_and_columns
from smalti.priors.incremental import GridStepper

__all__ = ["PixelCNN"]


@registered
class PixelCNN(GatedPrior):
    """The gated PixelCNN over grids of indices, conditional or not. A 1-D grid counts as one row.

    Its receptive field is `layers · (kernel_size // 2) + 1` rows up, and as many columns aside.

    References:
        Conditional Image Generation with PixelCNN Decoders, A. van den Oord et al., 2016, arXiv
        1606.05328.

    Arguments:
        codebook_size: K.
        grid: (H, W) or (T,).
        condition: The condition, such as a label; None for an unconditional prior.
        hidden: Channels of each stack, C.
        layers: Gated layers, L.
        kernel_size: Width of the convolutions, odd.
        dropout: Probability that an output of a gate is dropped in training; in recipes also
            "auto".

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> prior = PixelCNN(codebook_size=16, grid=(4, 4), hidden=8, layers=2)
        >>> prior.sample(2).shape
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
        dropout: float | Literal["auto"] = 0.0,
    ) -> None:
        shape = rows_and_columns("PixelCNN", grid)
        super().__init__(
            codebook_size, grid, condition, shape, hidden, layers, kernel_size, dropout
        )
        self.second = nn.Conv2d(hidden, codebook_size, 1)
        init_for_relu(self.skip, self.first)

    def logits(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns logits (B, *grid, K); see `AutoregressivePrior.logits`."""
        logits = self.second(self.features(indices, context))  # (B, K, H, W)
        return logits.permute(0, 2, 3, 1).reshape(*indices.shape, self.codebook_size)

    @torch.no_grad()
    def start(self, batch: int, context: Tensor | None = None) -> GridStepper:
        """Returns a stepper that computes each position once."""
        return GridStepper(self.embedding, *self.parts(batch, context, self.second))
