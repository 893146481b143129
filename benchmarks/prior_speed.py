"""Benchmark of how fast priors draw: samples a second of a few or of many at once.

    python benchmarks/prior_speed.py --out prior_speed.json

TransformerPrior, which draws one token after another with its keys and values in a cache, against
MaskedPrior in several numbers of steps, both of 4 layers of 128 channels and with a label as the
condition. The weights are not trained: speed does not depend on them. In turn each draws n samples
at once; of its `--repeats` times the median counts, and the smallest and largest are kept, too. Of
one thread on a CPU they are processor time, which others on the machine change little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from smalti.conditions import Label
from smalti.priors import MaskedPrior, Prior, SamplingConfig, TransformerPrior
from smalti.training.cpu import speed_up_cpu

GRIDS = {"7x7": 512, "8x8": 1024, "16x16": 1024}  # codebook sizes
LABELS = 10
PRIORS: tuple[Any, ...] = (
    partial(TransformerPrior, hidden=128, layers=4, heads=4),
    partial(MaskedPrior, hidden=128, layers=4, heads=4),
)


def ways(grid: str, steps: list[int], device: str) -> dict[str, tuple[Prior, SamplingConfig]]:
    """Returns the priors of a grid, and how they draw, by name."""
    shape, size = tuple(map(int, grid.split("x"))), GRIDS[grid]
    torch.manual_seed(0)
    label = Label([str(name) for name in range(LABELS)])
    one_by_one, masked = (make(size, shape, label).to(device).eval() for make in PRIORS)
    return {
        "TransformerPrior": (one_by_one, SamplingConfig()),
        **{f"MaskedPrior, {s} steps": (masked, SamplingConfig(steps=s)) for s in steps},
    }


def seconds(prior: Prior, config: SamplingConfig, n: int, seed: int, device: str) -> float:
    """Returns how long it takes to draw n samples: of one thread its processor time."""
    alone = device == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(LABELS, (n,), generator=generator).to(device)
    began = clock()
    prior.sample(n, labels, config=config, generator=generator).cpu()  # waits for the device
    return clock() - began


def measure(grid: str, n: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures all ways of drawing n samples of a grid, in turn."""
    found = {
        name: partial(seconds, *way, n, device=options.device)
        for name, way in ways(grid, options.steps, options.device).items()
    }
    times: dict[str, list[float]] = {name: [] for name in found}
    for draw in found.values():
        draw(seed=0)  # warms up
    for repeat in range(options.repeats):
        for name, draw in found.items():
            times[name].append(draw(seed=repeat))
    return [
        {
            "grid": grid,
            "n": n,
            "prior": name,
            "per_second": n / statistics.median(of),
            "slowest": n / max(of),
            "fastest": n / min(of),
        }
        for name, of in times.items()
    ]


def table(rows: list[dict[str, Any]]) -> str:
    """Lays out samples a second as a table in Markdown."""
    names = list(dict.fromkeys(row["prior"] for row in rows))
    lines = ["| grid | n | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for grid, n in dict.fromkeys((row["grid"], row["n"]) for row in rows):
        speeds = [row["per_second"] for row in rows if (row["grid"], row["n"]) == (grid, n)]
        cells = [f"{speeds[0]:.3g}"] + [f"{s:.3g} (× {s / speeds[0]:.2g})" for s in speeds[1:]]
        lines.append(f"| {grid} | {n} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measures all, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grids", nargs="+", choices=GRIDS, default=list(GRIDS))
    parser.add_argument("--n", nargs="+", type=int, default=[1, 4, 16, 64, 256])
    parser.add_argument("--steps", nargs="+", type=int, default=[8, 12])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("prior_speed.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    speed_up_cpu()
    rows = [row for grid in options.grids for n in options.n for row in measure(grid, n, options)]
    kept = {"options": vars(options) | {"out": str(options.out)}, "rows": rows}
    options.out.write_text(json.dumps(kept, indent=2), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
