"""The training loss of a contrastive network, with augmentation of signals and captions.

Signals are shifted by up to a share of their size, where their source can (`Splits.shift`), and a
share of the tokens of each caption is dropped. There are few pairs, so that without it the network
would recognise an example by its position, or by one word.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from smalti.data import Batch
from smalti.networks import ContrastiveNetwork, contrastive_loss

__all__ = ["augmented_contrastive_loss", "drop_tokens"]

REACH = 0.1  # largest shift, as a share of a signal's size
LEFT_OUT = 0.15  # share of the tokens of a caption that are dropped

Shift = Callable[[Tensor, float], Tensor]


def augmented_contrastive_loss(
    model: ContrastiveNetwork,
    batch: Batch,
    shift: Shift | None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Computes the loss of a batch of pairs after augmentation, a scalar in nats.

    Arguments:
        model: The network.
        batch: Signals (B, C, *size) and captions (B, L).
        shift: Shifts each signal of a batch by at most a share of its size; None for no shift.
        device: The device to compute on; that of the batch if not given.
    """
    assert batch.condition is not None
    x = batch.x if shift is None else shift(batch.x, REACH)
    values, fewer = batch.condition, drop_tokens(batch.condition)
    if device is not None:
        x, values, fewer = x.to(device), values.to(device), fewer.to(device)
    return contrastive_loss(model(x, fewer), values)


def drop_tokens(values: Tensor, share: float = LEFT_OUT) -> Tensor:
    """Drops a share of the tokens of captions (B, L) at random, but never all tokens of one.

    The remaining tokens keep their order, with zeros after the last.

    Example:
        >>> captions = torch.tensor([[5, 6, 7, 0], [8, 0, 0, 0]])
        >>> (drop_tokens(captions, 0.5) > 0).sum(1).ge(1).all()
        tensor(True)
    """
    there = values > 0
    kept = (torch.rand(values.shape, device=values.device) >= share) & there
    kept[:, 0] |= ~kept.any(1)
    order = (~kept).long().argsort(dim=1, stable=True)
    return torch.where(kept, values, 0).gather(1, order)
