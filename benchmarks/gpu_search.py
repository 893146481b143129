"""The fused search for nearest codewords on a GPU, beside what plain torch does there.

    python benchmarks/gpu_search.py

product   `torch.mm` of vectors (N, D) and codebook (D, K), in bfloat16: no search can be faster
          that multiplies in bfloat16
cdist     `torch.cdist(z, e).argmin(1)` in float32, as many quantizers search
addmm     the largest of ⟨z, e⟩ − ½‖e‖² by `addmm` and `argmax`, in bfloat16
fused     `fused_nearest` in each of its precisions

Each is timed by CUDA events: medians of several calls after warming up. TFLOP/s count 2·N·K·D
operations; memory is the peak beside the arguments.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from smalti.quantizers.triton_search import PRECISIONS, fused_nearest

SHAPES = [(2**20, 20_000, 64), (2**19, 20_000, 128), (2**18, 20_000, 256), (2**16, 512, 64)]
CALLS, WARM = 11, 3


def milliseconds(work: Callable[[], object]) -> float:
    """Returns the median time of a call on the GPU."""
    times = []
    for call in range(WARM + CALLS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        if call >= WARM:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)


def ways(z: Tensor, codebook: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Returns each search of the codewords of vectors."""
    low, low_codebook = z.bfloat16(), codebook.bfloat16()
    half = -0.5 * codebook.square().sum(1).bfloat16()
    out = torch.empty(len(z), len(codebook), dtype=torch.bfloat16, device=z.device)
    found: dict[str, Callable[[], Tensor]] = {
        "product": lambda: torch.mm(low, low_codebook.T, out=out),
        "cdist": lambda: torch.cdist(z, codebook).argmin(1),
        "addmm": lambda: torch.addmm(half, low, low_codebook.T).argmax(1),
    }
    for precision in PRECISIONS:
        found[f"fused {precision}"] = partial(_fused, z, codebook, precision)
    return found


def _fused(z: Tensor, codebook: Tensor, precision: str) -> Tensor:
    return fused_nearest(z, codebook, precision)[0]


def measure(n: int, size: int, dim: int) -> list[dict[str, object]]:
    """Times all searches of one shape, and compares what they find with float64."""
    generator = torch.Generator("cuda").manual_seed(0)
    z = torch.randn(n, dim, device="cuda", generator=generator)
    codebook = torch.randn(size, dim, device="cuda", generator=generator)
    exact = torch.cdist(z[:4096].double(), codebook.double()).argmin(1)
    rows: list[dict[str, object]] = []
    for name, work in ways(z, codebook).items():
        try:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            found = work()
            torch.cuda.synchronize()
            memory = torch.cuda.max_memory_allocated() - before
            right = None if name == "product" else (found[:4096] == exact).float().mean().item()
            took = milliseconds(work)
        except torch.OutOfMemoryError:
            rows.append({"shape": (n, size, dim), "way": name, "ms": None})
            continue
        rows.append(
            {
                "shape": (n, size, dim),
                "way": name,
                "ms": took,
                "tflops": 2 * n * size * dim / took / 1e9,
                "right": right,
                "megabytes": memory / 2**20,
            }
        )
    return rows


def main() -> None:
    """Measures all shapes, and prints a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu_search.json"))
    options = parser.parse_args()
    rows = []
    print(torch.cuda.get_device_name())
    for shape in SHAPES:
        for row in measure(*shape):
            rows.append(row)
            print(json.dumps(row), flush=True)
            torch.cuda.empty_cache()
    options.out.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
