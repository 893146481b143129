"""Drawing from a prior index by index: incremental against naive, with the same weights.

    python benchmarks/prior_sampling.py --out prior_sampling.json

    naive         for each position a full forward pass, whose logits at that position are used
    incremental   `sample`: at each position only what is new there

Both draw whole batches in evaluation mode without gradients. A naive pass costs the same at every
position, whatever is drawn there, so it is timed at a few positions spread over the grid and
multiplied by their number; the spread over the positions is printed beside it. The two take turns,
so that a disturbed machine disturbs both, and the medians are compared.

The second table has the incremental cost of an index over the size of the grid: the same for a
PixelCNN; for a PixelSNAIL and a TransformerPrior the attention's share grows with the number of
positions. Of a DepthPixelCNN, each of the indices of a position counts as a position here.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from smalti.priors import (
    AutoregressivePrior,
    DepthPixelCNN,
    PixelCNN,
    PixelSNAIL,
    TransformerPrior,
    sample_from_logits,
)

PRIORS = ("PixelCNN", "DepthPixelCNN", "PixelSNAIL", "TransformerPrior")


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@torch.inference_mode()
def naive_step(prior: AutoregressivePrior, indices: torch.Tensor, position: int) -> None:
    """Draws the index at one position by a full pass over the grid."""
    logits = prior.logits(indices).flatten(1, -2)[:, position]
    indices.view(len(indices), -1)[:, position] = sample_from_logits(logits)


def largest_difference(prior: AutoregressivePrior, batch: int) -> float:
    """Of the logits of both ways, at all positions of grids drawn at random."""
    indices = torch.randint(prior.codebook_size, (batch, *prior.grid))
    with torch.inference_mode():
        full = prior.logits(indices).flatten(1, -2)
    stepper, largest = prior.start(batch), 0.0
    for i, column in enumerate(indices.flatten(1).unbind(1)):
        largest = max(largest, (stepper.logits() - full[:, i]).abs().max().item())
        stepper.push(column)
    return largest


def compare(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Incremental against naive on one grid."""
    prior = make(name, options, options.grid)
    indices = torch.zeros((options.batch, *prior.grid), dtype=torch.int64)
    step = max(prior.positions // options.positions, 1)
    positions = range(step // 2, prior.positions, step)
    prior.sample(1)
    naive_step(prior, indices, 0)

    passes: dict[int, list[float]] = {position: [] for position in positions}
    incremental = []
    for _ in range(options.repeats):
        for position in positions:
            passes[position].append(seconds(partial(naive_step, prior, indices, position)))
        incremental.append(seconds(partial(prior.sample, options.batch)) / prior.positions)
    at = [statistics.median(times) for times in passes.values()]
    naive, fast = statistics.median(at), statistics.median(incremental)
    return {
        "grid": list(prior.grid),
        "naive_ms_per_position": 1e3 * naive,
        "naive_ms_per_position_least_and_most": [1e3 * min(at), 1e3 * max(at)],
        "incremental_ms_per_position": 1e3 * fast,
        "times_faster": naive / fast,
        "largest_difference_of_logits": largest_difference(prior, options.batch),
    }


def cost_over_size(name: str, options: argparse.Namespace) -> list[dict[str, float]]:
    """The incremental cost of a position, for grids of several sizes."""
    priors = [make(name, options, size) for size in options.sizes]
    times: list[list[float]] = [[] for _ in priors]
    for _ in range(options.repeats):
        for prior, measured in zip(priors, times, strict=True):
            measured.append(seconds(partial(prior.sample, options.batch)) / prior.positions)
    return [
        {"size": size, "ms_per_position": 1e3 * statistics.median(measured)}
        for size, measured in zip(options.sizes, times, strict=True)
    ]


def make(name: str, options: argparse.Namespace, size: int) -> AutoregressivePrior:
    """An untrained prior: what it costs does not depend on the values of its weights."""
    torch.manual_seed(0)
    common = {"codebook_size": options.codebook_size, "hidden": options.hidden}
    if name == "PixelCNN":
        return PixelCNN(grid=(size, size), layers=options.layers, **common).eval()
    if name == "DepthPixelCNN":
        grid = (size, size, options.depth)
        return DepthPixelCNN(grid=grid, layers=options.layers, **common).eval()
    if name == "TransformerPrior":
        layers = options.decoder_layers
        return TransformerPrior(grid=(size, size), layers=layers, **common).eval()
    layers = options.layers // options.blocks
    return PixelSNAIL(grid=(size, size), blocks=options.blocks, layers=layers, **common).eval()


def measure(name: str, options: argparse.Namespace) -> dict[str, object]:
    """Measures one prior and prints its two tables."""
    result = compare(name, options)
    least, most = result["naive_ms_per_position_least_and_most"]
    gated = f"{options.layers} gated layers"
    layers = f"{options.decoder_layers} layers" if name == "TransformerPrior" else gated
    print(
        f"{name}: grid {options.grid}×{options.grid}, batch {options.batch}, "
        f"K {options.codebook_size}, {layers} of {options.hidden}, "
        f"{options.threads} threads\n"
        f"  naive        {result['naive_ms_per_position']:9.3f} ms per position "
        f"({least:.3f} to {most:.3f} over {options.positions} positions)\n"
        f"  incremental  {result['incremental_ms_per_position']:9.3f} ms per position\n"
        f"  {result['times_faster']:.0f} times faster; "
        f"logits differ by at most {result['largest_difference_of_logits']:.1e}\n"
    )
    sizes = cost_over_size(name, options)
    for row in sizes:
        print(f"  {row['size']:3d}×{row['size']:<3d} {row['ms_per_position']:9.3f} ms per position")
    return {"against_naive": result, "over_size": sizes}


def main() -> None:
    """Measures each prior and writes what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--priors", nargs="+", choices=PRIORS, default=list(PRIORS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--grid", type=int, default=32)
    parser.add_argument("--codebook_size", type=int, default=512)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--layers", type=int, default=8, help="gated layers")
    parser.add_argument("--blocks", type=int, default=2, help="of a PixelSNAIL; one attention each")
    parser.add_argument("--decoder_layers", type=int, default=4, help="of a TransformerPrior")
    parser.add_argument("--depth", type=int, default=4, help="indices per position, where several")
    parser.add_argument("--positions", type=int, default=8, help="where a naive pass is timed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="*", default=[8, 16, 32, 64])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    found = {name: measure(name, options) for name in options.priors}
    if options.out:
        settings = {key: value for key, value in vars(options).items() if key != "out"}
        versions = {"torch": torch.__version__, "machine": platform.machine()}
        report = {**versions, "settings": settings, **found}
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
