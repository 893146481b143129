"""Has the processes of a training wait for each other at the start, with a time limit.

Without a limit a process whose partner never comes, because a machine is down or an address wrong,
waits in silence for half an hour. After they have met, torch's own limit holds between them: one
may take long over what only it does, such as the tokens of a large set.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from lightning import Trainer
from lightning.pytorch.strategies import ParallelStrategy
from torch import distributed
from torch.distributed import distributed_c10d

from smalti.errors import InputError

__all__ = ["limit_startup_wait"]

EVERY = 15.0  # seconds between two lines that say who is waited for
TOGETHER = timedelta(minutes=30)  # torch's own limit


def limit_startup_wait(trainer: Trainer, seconds: float) -> None:
    """Limits how long the processes of a trainer wait for each other to start.

    After `seconds` they end with `InputError`.
    """
    strategy: Any = trainer.strategy
    if not isinstance(trainer.strategy, ParallelStrategy) or not hasattr(strategy, "_timeout"):
        return
    setup_environment = strategy.setup_environment

    def meet() -> None:
        strategy.set_world_ranks()
        if strategy.world_size == 1 or distributed.is_initialized():
            setup_environment()
            return
        strategy._timeout = timedelta(seconds=seconds)
        with _waiting(strategy, seconds):
            setup_environment()
        strategy._timeout = TOGETHER
        distributed_c10d._set_pg_timeout(TOGETHER)

    strategy.setup_environment = meet


@contextmanager
def _waiting(strategy: Any, seconds: float) -> Iterator[None]:
    """Says who is waited for, again and again, until all are there or the time is over."""
    place = strategy.cluster_environment
    whom = _others(strategy.global_rank, strategy.world_size)
    where = f"{place.main_address}:{place.main_port}"
    met = threading.Event()

    def say() -> None:
        waited = 0.0
        while not met.wait(EVERY):
            waited += EVERY
            print(
                f"process {strategy.global_rank} of {strategy.world_size} waits for {whom} at "
                f"{where}: {waited:.0f} s, at most {seconds:.0f} s",
                file=sys.stderr,
                flush=True,
            )

    threading.Thread(target=say, daemon=True).start()
    try:
        yield
    except distributed.DistError as error:
        raise InputError(
            f"Process {strategy.global_rank} of {strategy.world_size} has waited {seconds:.0f} s "
            f"for {whom} at {where}, and not all have come: start each with the same command, set "
            f"hardware.num_nodes and hardware.devices to what there is, or hardware.wait to more."
        ) from error
    finally:
        met.set()


def _others(rank: int, world: int) -> str:
    """Names who is waited for, by their numbers.

    Example:
        >>> _others(0, 2), _others(0, 4), _others(2, 4)
        ('process 1', 'processes 1 to 3', 'process 0 and all others')
    """
    if rank:
        return "process 0" if world == 2 else "process 0 and all others"
    return "process 1" if world == 2 else f"processes 1 to {world - 1}"
