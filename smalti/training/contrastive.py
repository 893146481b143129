"""The loss of a step of a contrastive network, of pairs that are changed at random.

Signals are moved, by up to a share of their size where their source can (`Splits.shift`), and of
each caption a share of the tokens is left out: there are few pairs, and neither the place of a
thing nor one word of its name alone is to tell it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from smalti.data import Batch
from smalti.networks import ContrastiveNetwork, contrastive_loss

__all__ = ["contrastive_step", "leave_out"]

REACH = 0.1  # of a signal's size, which it is moved by at most
LEFT_OUT = 0.15  # of the tokens of a caption

Shift = Callable[[Tensor, float], Tensor]


def contrastive_step(
    model: ContrastiveNetwork,
    batch: Batch,
    shift: Shift | None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Returns the loss of a batch of pairs, of which signals are moved and words are left out.

    Arguments:
        model: The network.
        batch: Signals (B, C, *size) and captions (B, L).
        shift: Moves each signal of a batch by at most a share of its size; none for no moves.
        device: Where to; that of the batch if not given.
    """
    assert batch.condition is not None
    x = batch.x if shift is None else shift(batch.x, REACH)
    values, fewer = batch.condition, leave_out(batch.condition)
    if device is not None:
        x, values, fewer = x.to(device), values.to(device), fewer.to(device)
    return contrastive_loss(model(x, fewer), values)


def leave_out(values: Tensor, share: float = LEFT_OUT) -> Tensor:
    """Leaves out a share of the tokens of captions (B, L) at random, but not all of one.

    What remains moves together, before the zeros.

    Example:
        >>> captions = torch.tensor([[5, 6, 7, 0], [8, 0, 0, 0]])
        >>> (leave_out(captions, 0.5) > 0).sum(1).ge(1).all()
        tensor(True)
    """
    there = values > 0
    kept = (torch.rand(values.shape, device=values.device) >= share) & there
    kept[:, 0] |= ~kept.any(1)
    order = (~kept).long().argsort(dim=1, stable=True)
    return torch.where(kept, values, 0).gather(1, order)
