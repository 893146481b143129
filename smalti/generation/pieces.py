"""What is given for a model, in pieces that it can take at a time."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from smalti.arguments import as_tensor

__all__ = ["BATCH", "pieces"]

BATCH = 256  # signals at a time


def pieces(batch: Any, what: str) -> tuple[Tensor, ...]:
    """A batch in pieces of at most 256, one at least; the model checks each.

    Arguments:
        batch: (B, ...), a tensor, an array or nested lists.
        what: It is, as the subject of a sentence.
    """
    tensor = as_tensor(batch, what)
    return tensor.split(BATCH) if tensor.ndim else (tensor,)
