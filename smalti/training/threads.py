"""Chooses the number of threads of a training on the CPU: the fastest at present.

More threads than free cores make a training slower, not faster: a step is hundreds of operations,
each ends when its last thread is done, and the one beside another program waits for its turn. So
at the start of a run a small training step is timed with each number of threads, in turn, for some
hundred milliseconds, and the number with the lowest median is taken.

The number changes in which order sums are added, and so their last bits. It is therefore kept with
the run, which goes on with it.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from smalti.files import write_text
from smalti.training.processes import is_first

if TYPE_CHECKING:
    from smalti.training.hardware import Hardware

__all__ = ["choose_threads"]

SECONDS = 0.5  # that the measurement takes, about
ROUNDS = 40  # of it at most
FEWEST = 5  # and at least
GAIN = 0.95  # of the time that more threads must come under to be worth it
SET = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # whoever set one of these has chosen


def choose_threads(hardware: Hardware, state: Path) -> int:
    """Chooses and sets torch's number of threads for a run, and prints it in one line.

    It is, in this order: that of hardware.threads or the environment; the number that the run
    began with; the fastest one now. Each of hardware.workers is left a core.

    Arguments:
        hardware: The recipe's hardware.
        state: The folder `state` of the run, where the number is kept.

    Returns:
        The number.
    """
    here, kept = torch.get_num_threads(), _kept(state / "threads.json")
    if hardware.threads is not None:
        number, why = hardware.threads, "as asked for"
    elif any(name in os.environ for name in SET):
        number, why = here, "as the environment says"
    elif kept is not None:
        number, why = kept, "as this run began with"
    elif any(state.glob("*.ckpt")) or not _alone_on_cpu(hardware):
        number, why = here, "as torch chose"
    else:
        number, why = _fastest(max(here - hardware.workers, 1))
    torch.set_num_threads(number)
    if is_first():
        if number != kept:
            write_text(state / "threads.json", json.dumps({"threads": number}) + "\n")
        print(f"threads: {number}, {why}", flush=True)
    return number


def _alone_on_cpu(hardware: Hardware) -> bool:
    """Returns whether one process trains on the CPU: several divide the cores among themselves."""
    one = hardware.devices in (1, "1", "auto") and hardware.num_nodes == 1
    return one and hardware.device().type == "cpu" and hardware.accelerator in ("auto", "cpu")


def _kept(path: Path) -> int | None:
    """Returns the number that a run began with; None where it is missing or unreadable."""
    try:
        number = json.loads(path.read_text(encoding="utf-8"))["threads"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    fits = isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= 1024
    return number if fits else None


def _fastest(most: int) -> tuple[int, str]:
    """Measures the fastest number of threads up to `most`; also says how."""
    if most == 1:
        return 1, "no core is free for more"
    numbers = sorted({*(2**n for n in range(most.bit_length())), most})
    medians = _medians(numbers, _small_step())
    best = 1
    for number in numbers:
        if medians[number] < GAIN * medians[best]:
            best = number
    told = ", ".join(f"{1e3 * medians[number]:.1f} ms with {number}" for number in numbers)
    return best, f"the fastest now: a small step takes {told}"


def _medians(numbers: list[int], step: Callable[[], None]) -> dict[int, float]:
    """Measures the median time of a step with each number of threads, in turn: seconds."""
    times: dict[int, list[float]] = {number: [] for number in numbers}
    end = time.perf_counter() + SECONDS
    for turn in range(ROUNDS):
        for number in numbers:
            torch.set_num_threads(number)
            step()  # threads start, and caches fill, in a step that does not count
            start = time.perf_counter()
            step()
            times[number].append(time.perf_counter() - start)
        if time.perf_counter() > end and turn + 1 >= FEWEST:
            break
    return {number: statistics.median(each) for number, each in times.items()}


def _small_step() -> Callable[[], None]:
    """Builds a step of a few convolutions: forward, backward and update."""
    with torch.random.fork_rng(devices=[]):  # it must draw nothing from the run's own
        layers = [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1)]
        model = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(32, 16, 1))
        x = torch.randn(16, 16, 16, 16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        with torch.enable_grad():
            optimizer.zero_grad()
            (model(x) - x).square().mean().backward()
            optimizer.step()

    return step
