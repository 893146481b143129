"""Coordinates the processes of one training: which one writes, and when all wait."""

from __future__ import annotations

from torch import distributed

from smalti.quantizers.collectives import process_count, process_index

__all__ = ["is_first", "wait_for_all"]


def is_first() -> bool:
    """Returns whether this is the only process, or the first of several (rank 0), which writes."""
    return process_index() == 0


def wait_for_all() -> None:
    """Waits until every process has called this (a barrier)."""
    if process_count() > 1:
        distributed.barrier()
