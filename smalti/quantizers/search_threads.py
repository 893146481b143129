"""Runs a search in several threads, of which each takes whole blocks of rows.

An operation that is split among threads ends when the last of them is done. Where another program
uses one of the cores, that thread waits for its turn, and all others with it, at each of hundreds
of short operations. So the rows are split once: each thread takes block after block and computes
it alone, and a thread that has to wait holds up a block at most.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["run_in_one_thread", "run_in_threads"]

Result = TypeVar("Result")

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_size = 0
_inside = threading.local()


def run_in_threads(count: int, work: Callable[[Iterator[int]], None]) -> None:
    """Runs `work` over the numbers 0 … count − 1, divided among as many threads as torch uses.

    Each thread calls `work` once, with an iterator that gives the next number nobody has taken.
    """
    threads = min(torch.get_num_threads(), count)
    if getattr(_inside, "worker", False) or threads < 1 or torch.get_num_threads() == 1:
        work(iter(range(count)))
        return
    numbers, taking = iter(range(count)), threading.Lock()

    def shared() -> Iterator[int]:
        while True:
            with taking:
                number = next(numbers, None)
            if number is None:
                return
            yield number

    run = _as_here(lambda: work(shared()))
    pool = _threads(threads)
    for future in [pool.submit(run) for _ in range(threads)]:
        future.result()


def run_in_one_thread(work: Callable[[], Result]) -> Result:
    """Calls `work` so that torch computes it in one thread, and returns its result."""
    if getattr(_inside, "worker", False) or torch.get_num_threads() == 1:
        return work()
    return _threads(1).submit(_as_here(work)).result()


def _as_here(work: Callable[[], Result]) -> Callable[[], Result]:
    """Wraps the work in this thread's inference mode."""
    inference = torch.is_inference_mode_enabled()

    def run() -> Result:
        with torch.inference_mode(inference), torch.no_grad():
            return work()

    return run


def _threads(number: int) -> ThreadPoolExecutor:
    """Returns a pool of at least so many threads, whose operations are not split further."""
    global _pool, _size
    with _lock:
        if _pool is None or _size < number:
            started = threading.Barrier(number + 1)
            _pool = ThreadPoolExecutor(number, "smalti-search", _start)
            # torch's number of threads is one of each thread's own, but a new thread begins with
            # the number that was set last, wherever: so it is set back once all have theirs.
            here = torch.get_num_threads()
            waits = [_pool.submit(started.wait) for _ in range(number)]
            started.wait()
            torch.set_num_threads(here)
            for wait in waits:
                wait.result()
            _size = number
    return _pool


def _start() -> None:
    _inside.worker = True
    torch.get_num_threads()  # a thread takes the common number over when it is first asked for it
    torch.set_num_threads(1)


def _forget() -> None:
    """Drops the threads, which a forked process does not have."""
    global _pool, _size, _lock
    _pool, _size, _lock = None, 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
