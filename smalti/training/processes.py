"""Several processes of one training: who writes, and who waits."""

from __future__ import annotations

from torch import distributed

__all__ = ["is_first", "wait_for_all"]


def is_first() -> bool:
    """Whether this is the process that writes: the only one, or the first of several."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def wait_for_all() -> None:
    """Returns when every process has come here."""
    if distributed.is_initialized():
        distributed.barrier()
