"""Stepping through priors of gated layers, which compute each position once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from smalti.nn.stepping import GridPart, GridWalk, SkipHead
from smalti.priors.autoregressive import Stepper

__all__ = ["GridStepper"]


class GridStepper(Stepper):
    """A walk over grids (H, W) of indices.

    Arguments:
        embedding: The embedding of the indices.
        parts, head: See `GridWalk`.
    """

    @torch.no_grad()
    def __init__(self, embedding: nn.Embedding, parts: Sequence[GridPart], head: SkipHead) -> None:
        self.embedding = embedding.weight
        self.walk = GridWalk(parts, head)

    @torch.no_grad()
    def logits(self) -> Tensor:
        """(B, K); see `Stepper.logits`."""
        return self.walk.logits()

    @torch.no_grad()
    def push(self, indices: Tensor) -> None:
        """See `Stepper.push`."""
        self.walk.push(self.embedding[indices])
