"""Several processes of one training: who writes, and who waits."""

from __future__ import annotations

from torch import distributed

from smalti.quantizers.collectives import process_count, process_index

__all__ = ["is_first", "wait_for_all"]


def is_first() -> bool:
    """Returns whether this is the process that writes: the only one, or the first of several."""
    return process_index() == 0


def wait_for_all() -> None:
    """Returns when every process has come here."""
    if process_count() > 1:
        distributed.barrier()
