"""Collective operations of the processes that train together.

Each of them sees its own part of a batch, and all of them must end with the same codebook, bit for
bit. Sums over all processes are the same on each, so a codebook stays equal if it is moved by such
sums alone. Every process has to take part in every sum, even when it has nothing to add, or the
others wait for it for ever; so whether one is taken may depend only on what is equal everywhere.
"""

import torch
from torch import Tensor
from torch import distributed as dist

__all__ = ["broadcast", "process_count", "process_index", "sum_over_processes"]


def process_count() -> int:
    """Returns the number of processes of torch.distributed; 1 without it."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_index() -> int:
    """Returns the rank of this process, from 0; 0 without torch.distributed."""
    return dist.get_rank() if process_count() > 1 else 0


def sum_over_processes(parts: list[Tensor]) -> list[Tensor]:
    """Sums each tensor over all processes, in one operation; float32, on one device."""
    if process_count() == 1:
        return parts
    flat = torch.cat([part.reshape(-1) for part in parts])
    dist.all_reduce(flat)
    pieces = flat.split([part.numel() for part in parts])
    return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]


def broadcast(tensor: Tensor) -> Tensor:
    """Sends the first process's tensor to all processes, and returns it."""
    if process_count() > 1:
        tensor = tensor.contiguous()
        dist.broadcast(tensor, src=0)
    return tensor
