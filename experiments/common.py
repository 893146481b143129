"""What all experiments share: options, a small training loop, and how results are written.

An experiment is one script and one claim: `python experiments/NAME.py` measures it over several
seeds and writes NAME.json and NAME.png; docs/experiments/NAME.md says what was found. The seeds
alone decide what comes out, with the same versions, machine and number of threads.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Protocol

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from smalti.errors import InputError
from smalti.files import atomic_file, write_text
from smalti.outputs import MARK, check_file, check_output
from smalti.training import CosineDecay
from smalti.training.batch_order import StepSampler
from smalti.training.cpu import speed_up_cpu

__all__ = ["Options", "Rows", "fit", "options", "save", "say", "summary"]

FASHION_MNIST = "/usr/share/datasets/fashion-mnist"  # where Debian's package puts it
OUT = Path(__file__).parents[1] / "docs" / "experiments"


@dataclass(frozen=True)
class Options:
    """What every experiment can be told.

    Attributes:
        data: The folder of the data set; empty where no file is read.
        out: The folder of results.
        seeds: How many; the seeds are 0, 1, …
        budget: Optimizer steps of each training.
        threads: Of torch.
        overwrite: Whether files that smalti did not write are replaced, too.
    """

    data: str
    out: Path
    seeds: int
    budget: int
    threads: int
    overwrite: bool = False


def options(
    doc: str | None,
    arguments: Sequence[str] | None,
    *,
    budget: int,
    data: str = FASHION_MNIST,
    needs: str | None = None,
) -> Options:
    """Reads the command line, and makes the process ready for training on a CPU.

    Arguments:
        doc: The script's docstring; its first line is the help's.
        arguments: Of the command line; those of the process if None.
        budget: Optimizer steps of each training by default.
        data: The folder of the data set by default; empty, and no option, if no file is read.
        needs: What `--data` is, in words, where it has no default and must be given.
    """
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.set_defaults(data=data)
    if data:
        parser.add_argument("--data", help="folder of the four IDX files")
    elif needs is not None:
        parser.add_argument("--data", required=True, help=needs)
    parser.add_argument("--out", default=str(OUT), help="folder of the results")
    parser.add_argument("--overwrite", action="store_true", help="replace files of others, too")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=budget, help="steps of each training")
    parser.add_argument("--threads", type=int, default=1)
    given = vars(parser.parse_args(arguments))
    try:  # before the minutes that a measurement takes
        chosen = Options(**{**given, "out": check_output(given["out"], folder=True)})
        for suffix in (".json", ".png"):
            check_file(chosen.out / f"{Path(parser.prog).stem}{suffix}", chosen.overwrite)
    except InputError as error:
        parser.error(str(error))
    if min(chosen.seeds, chosen.budget, chosen.threads) < 1:
        parser.error("--seeds, --budget and --threads are at least 1")
    torch.set_num_threads(chosen.threads)
    speed_up_cpu()
    return chosen


class Rows(Protocol):
    """Examples of images or of tokens: what is asked for comes first in the batch."""

    def __len__(self) -> int: ...

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Any]: ...


def fit(
    model: nn.Module,
    loss: Callable[[Tensor, int], Tensor],
    examples: Rows,
    *,
    steps: int,
    seed: int,
    after: Callable[[], None] | None = None,
    batch_size: int = 64,
    rate: float = 3e-3,
) -> None:
    """Trains with Adam, its rate rising for a tenth of the steps and then falling along a cosine.

    Arguments:
        model: What is trained; it is left in evaluation mode.
        loss: (batch, step) → a scalar; the batch is images (B, C, H, W) or indices (B, *grid).
        examples: `smalti.data.Examples` or `smalti.training.Tokens`.
        steps: Of the optimizer.
        seed: Of the order of the examples and of everything drawn.
        after: Called after each step, such as a quantizer's `update`.
        batch_size: Examples per step.
        rate: The highest learning rate.
    """
    torch.manual_seed(seed)
    model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=rate)
    schedule = CosineDecay(warmup=max(steps // 10, 1)).configure(optimizer, steps, steps)[
        "scheduler"
    ]
    order = StepSampler(len(examples), batch_size, seed)
    for step, rows in enumerate(islice(order, steps)):
        batch, _ = examples.__getitems__(rows)
        optimizer.zero_grad()
        loss(batch, step).backward()
        optimizer.step()
        schedule.step()
        if after is not None:
            after()
    model.eval()


def summary(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard deviation over seeds; the latter is None of a single one.

    Example:
        >>> summary([1.0, 2.0, 3.0])
        {'mean': 2.0, 'sd': 1.0}
    """
    return {"mean": mean(values), "sd": stdev(values) if len(values) > 1 else None}


def say(what: str) -> None:
    """Tells how far an experiment is, on stderr."""
    print(what, file=sys.stderr, flush=True)


def save(name: str, chosen: Options, record: Mapping[str, Any], figure: Figure) -> None:
    """Writes NAME.json, with the options and versions beside the record, and NAME.png.

    The JSON's seconds are processor time, which a busy machine does not change.

    Raises:
        ValueError: If the record holds a number that is not finite.
    """
    data = {"data": Path(chosen.data).name} if chosen.data else {}
    content = {
        "experiment": name,
        "settings": {
            **data,
            "seeds": chosen.seeds,
            "budget": chosen.budget,
            "threads": chosen.threads,
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "smalti": version("smalti"),
        },
        **record,
        "seconds": math.ceil(time.process_time()),
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    for suffix in (".json", ".png"):
        check_file(chosen.out / f"{name}{suffix}", chosen.overwrite)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(chosen.out / f"{name}.json", text + "\n")
    with atomic_file(chosen.out / f"{name}.png") as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": MARK})
    say(f"{name}: {content['seconds']} s of processor time, written to {chosen.out}")
