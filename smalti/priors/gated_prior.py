"""The base class of priors with gated convolutions: a PixelCNN without its last layers.

A position holds Q indices, and is embedded as the sum of theirs. The stacks (see
`smalti.priors.pixelcnn`) give C features of all positions before each. What the distribution at a
position is made of is left to the classes that inherit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from smalti.conditions import Condition
from smalti.errors import InputError
from smalti.nn.embeddings import DepthEmbedding
from smalti.nn.gated_layers import check_gated_arguments, gated_features, gated_layers
from smalti.nn.incremental_decoder import GatedStacks, LayerCache, SkipHead, to_hwbc
from smalti.priors.autoregressive import AutoregressivePrior
from smalti.priors.base import evaluation_view
from smalti.priors.context import context_map

__all__ = ["GatedPrior", "rows_and_columns"]


class GatedPrior(AutoregressivePrior):
    """Abstract: an autoregressive prior with embeddings and the gated layers of a PixelCNN.

    Arguments:
        codebook_size: K.
        grid: Shape of one grid.
        condition: The condition, such as a label; None for an unconditional prior.
        shape: (H, W), the positions of the grid.
        hidden: Channels of each stack, C.
        layers: Gated layers, L.
        kernel_size: Width of the convolutions, odd.
        dropout: Probability that an output of a gate is dropped in training.

    Raises:
        InputError: If an argument is out of range.

    Attributes:
        depth: Q, the indices per position.
    """

    def __init__(
        self,
        codebook_size: int,
        grid: Sequence[int],
        condition: Condition | None,
        shape: tuple[int, int],
        hidden: int,
        layers: int,
        kernel_size: int,
        dropout: float | Literal["auto"],
    ) -> None:
        super().__init__(codebook_size, grid, condition)
        dropout = check_gated_arguments(hidden, layers, kernel_size, dropout)
        self.shape = shape
        self.depth = self.positions // (shape[0] * shape[1])
        self.embedding = DepthEmbedding(self.depth, codebook_size, hidden)
        self.context_map = context_map(shape, condition, hidden)
        self.layers = gated_layers(hidden, layers, kernel_size, dropout, vertical=shape[0] > 1)
        self.skip = nn.Conv2d((1 + layers) * hidden, hidden, 1)  # S_0, S_1, … S_L in one
        self.first = nn.Conv2d(hidden, hidden, 1)

    def features(self, indices: Tensor, context: Tensor | None) -> Tensor:
        """Computes features (B, C, H, W) at each position from the indices (B, *grid) before."""
        q = indices.reshape(-1, *self.shape, self.depth)
        s = self.context_map(self.context_of(context))
        # (B, C, H, W), but with the channels last in memory, where convolutions are fastest.
        e = self.embedding(q).sum(-2).permute(0, 3, 1, 2)
        return gated_features(e, s, self.layers, self.skip, self.first)

    def parts(
        self, batch: int, context: Tensor | None, last: nn.Conv2d
    ) -> tuple[list[LayerCache], SkipHead]:
        """Returns the cached layers and the head, which ends in the 1×1 convolution `last`."""
        view = evaluation_view(self)
        s = to_hwbc(view.context_map(view.context_of(context)), batch)
        head = SkipHead(s, self.skip, self.first, last)
        return [GatedStacks(self.layers, s, head.outputs)], head


def rows_and_columns(prior: str, grid: Sequence[int]) -> tuple[int, int]:
    """Converts the shape of a grid to (H, W); a 1-D grid becomes one row.

    Arguments:
        prior: The name of the prior's class, for the message.
        grid: Shape of one grid, with one index per position.

    Raises:
        InputError: If it has more dimensions.
    """
    if len(grid) > 2:
        raise InputError(
            f"A {prior} takes grids (H, W) or (T,), got {tuple(grid)}: for several indices per "
            f"position take DepthPixelCNN."
        )
    rows, columns = (1, 1, *grid)[-2:]
    return rows, columns
