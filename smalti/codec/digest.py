"""Tells models apart by 8 bytes of what they are: class, arguments and weights.

It is taken of the model itself and not of its files, so that a model that was saved again, or is
on another device, is the same one.
"""

from __future__ import annotations

import hashlib
import json

import torch
from torch import nn

from smalti.registry import describe

__all__ = ["digest"]


def digest(model: nn.Module) -> bytes:
    """Returns the first 8 bytes of the SHA-256 of a model.

    Raises:
        InputError: If its class, or that of an argument, is not registered.
    """
    found = hashlib.sha256(json.dumps(describe(model), sort_keys=True).encode())
    for name, tensor in model.state_dict().items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        whole = tensor.detach().cpu().contiguous().reshape(-1)
        found.update(whole.view(torch.uint8).numpy().tobytes())
    return found.digest()[:8]
