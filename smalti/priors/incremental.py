"""Incremental sampling from priors with gated layers: each position is computed once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from smalti.nn.incremental_decoder import IncrementalDecoder, LayerCache, SkipHead
from smalti.priors.autoregressive import Stepper

__all__ = ["GridStepper"]


class GridStepper(Stepper):
    """Samples grids (H, W) of indices position by position, with cached inputs of earlier ones.

    Arguments:
        embedding: Embeds the indices.
        parts, head: See `IncrementalDecoder`.
    """

    @torch.no_grad()
    def __init__(
        self, embedding: nn.Embedding, parts: Sequence[LayerCache], head: SkipHead
    ) -> None:
        self.embedding = embedding.weight
        self.decoder = IncrementalDecoder(parts, head)

    @torch.no_grad()
    def logits(self) -> Tensor:
        """Returns (B, K); see `Stepper.logits`."""
        return self.decoder.logits()

    @torch.no_grad()
    def push(self, indices: Tensor) -> None:
        """See `Stepper.push`."""
        self.decoder.push(self.embedding[indices])
