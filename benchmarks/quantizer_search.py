"""Nearest codewords and training steps of a quantizer against one bare matrix product.

    pip install -e '.[bench]'
    python benchmarks/quantizer_search.py --out quantizer_search.json

product   `torch.mm` of the vectors (N, D) and the codebook (D, K), written to memory that is there
lookup    `nearest` of the same vectors in the same codebook
faiss     the same by faiss's flat index, `IndexFlatL2`, filled and searched, where it is installed
step      forward, backward and update of a VectorQuantizer with an EMA codebook, where the gradient
          of its output is given
peer      the same step of vector-quantize-pytorch, where it is installed

They take turns, so that a disturbed machine disturbs all, and the medians are compared. Where the
memory of a process happens to lie changes times by a tenth and more for as long as it lives, so the
medians are over several processes. The peer keeps all distances several times over, so where that
would not fit into `--peer_gigabytes` it is timed on fewer vectors, and its time multiplied: it is
proportional to their number. Neither quantizer has k-means or resets here, as neither is part of
an ordinary step.

With `--busy` another process keeps the first core busy meanwhile, and the lookup is timed with one
thread and with `--threads`, in turn: what is asked of several threads is that they lose little
there, and nothing when alone.

    python benchmarks/quantizer_search.py --busy --peer_repeats 0

The second table has the memory that a lookup takes beside its arguments: the peak of the process's
resident memory, in a process of its own, which Linux can reset and tell.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from smalti.quantizers import EMACodebook, VectorQuantizer, nearest

SHAPES = [
    (65_536, 512, 64),
    (16_384, 1024, 64),
    (16_384, 8192, 256),
    (16_384, 16_384, 8),
    (8192, 65_536, 16),
]
COPIES = 8  # of the N×K distances in float32, at the peer's peak


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def our_step(size: int, dim: int, z: torch.Tensor) -> Callable[[], object]:
    """Forward, backward and update of a VectorQuantizer."""
    codebook = EMACodebook(codebook_size=size, dim=dim)
    quantizer = VectorQuantizer(codebook, dead_code_reset=None, kmeans_iterations=0).train()
    z, given, weight = z.clone().requires_grad_(), torch.randn_like(z), torch.tensor(0.25)

    def step() -> None:
        z.grad = None
        quantized, _, losses = quantizer(z)
        torch.autograd.backward([quantized, losses["commitment"]], [given, weight])
        quantizer.update()

    return step


def peer_step(size: int, dim: int, z: torch.Tensor) -> Callable[[], object]:
    """The same of vector-quantize-pytorch, whose update is part of its forward pass."""
    from vector_quantize_pytorch import VectorQuantize

    quantizer = VectorQuantize(
        dim, codebook_size=size, decay=0.99, commitment_weight=0.25, rotation_trick=False
    ).train()
    z = z[None].clone().requires_grad_()
    given = torch.randn_like(z)

    def step() -> None:
        z.grad = None
        quantized, _, loss = quantizer(z)
        torch.autograd.backward([quantized, loss], [given, torch.ones_like(loss)])

    return step


def faiss_lookup(z: torch.Tensor, codebook: torch.Tensor, threads: int) -> Callable[[], object]:
    """The nearest codewords by faiss's flat index, with as many threads."""
    import faiss

    faiss.omp_set_num_threads(threads)
    vectors, codewords = z.numpy(), codebook.numpy()

    def search() -> object:
        index = faiss.IndexFlatL2(codewords.shape[1])
        index.add(codewords)
        return index.search(vectors, 1)

    return search


def with_one_thread(work: Callable[[], object]) -> None:
    """Does `work` with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        work()
    finally:
        torch.set_num_threads(before)


@contextmanager
def neighbour(busy: bool) -> Iterator[None]:
    """With another process that keeps one core busy, if so wished."""
    if not busy:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(target=be_busy, daemon=True)
    process.start()
    time.sleep(2)  # until it is at it
    try:
        yield
    finally:
        process.kill()
        process.join()


def be_busy() -> None:
    """Multiplies for ever, on the first core of those there are."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    x = torch.randn(256, 256)
    while True:
        torch.mm(x, x)


def compare(shape: tuple[int, int, int], options: argparse.Namespace) -> dict[str, Any]:
    """Medians of one shape, over all processes."""
    n, size, dim = shape
    times: dict[str, list[float]] = {}
    for seed in range(options.processes):
        for name, measured in alone(measure, shape, seed, options).items():
            times.setdefault(name, []).extend(measured)
    medians = {name: statistics.median(measured) for name, measured in times.items()}
    row: dict[str, Any] = {
        "vectors": n,
        "codewords": size,
        "dim": dim,
        "ms": {name: 1e3 * median for name, median in medians.items()},
        "lookup_over_product": medians["lookup"] / medians["product"],
        "step_over_product": medians["step"] / medians["product"],
    }
    if "faiss" in medians:
        row["lookup_over_faiss"] = medians["lookup"] / medians["faiss"]
    if "lookup, 1 thread" in medians:
        row["lookup_over_one_thread"] = medians["lookup"] / medians["lookup, 1 thread"]
    if "peer" in medians:
        row["peer_vectors"] = peer_vectors(n, size, options)
        row["times_faster_than_peer"] = medians["peer"] / medians["step beside peer"]
    return row


def alone(work: Callable[..., Any], *arguments: object) -> Any:
    """What `work` gives in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def measure(
    shape: tuple[int, int, int], seed: int, options: argparse.Namespace
) -> dict[str, list[float]]:
    """The times of one shape in one process."""
    n, size, dim = shape
    torch.set_num_threads(options.threads)
    torch.manual_seed(seed)
    z, codebook = torch.randn(n, dim), torch.randn(size, dim)
    product = torch.empty(n, size)
    step = our_step(size, dim, z)
    ways = {
        "product": lambda: torch.mm(z, codebook.T, out=product),
        "lookup": lambda: nearest(z, codebook),
        "step": step,
    }
    if find_spec("faiss") is not None:
        ways["faiss"] = faiss_lookup(z, codebook, options.threads)
    if options.threads > 1:
        ways["lookup, 1 thread"] = lambda: with_one_thread(lambda: nearest(z, codebook))
    times = take_turns(options.repeats, ways)
    if options.peer_repeats and find_spec("vector_quantize_pytorch") is not None:
        del product  # the peer needs the memory
        few = peer_vectors(n, size, options)
        peer = peer_step(size, dim, z[:few])
        beside = take_turns(options.peer_repeats, {"step beside peer": step, "peer": peer})
        times |= beside | {"peer": [n / few * second for second in beside["peer"]]}
    return times


def take_turns(repeats: int, ways: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """The times of each, after a first that does not count."""
    for work in ways.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, work in ways.items():
            times[name].append(seconds(work))
    return times


def peer_vectors(n: int, size: int, options: argparse.Namespace) -> int:
    """On how many of n vectors the peer is timed."""
    fits = int(options.peer_gigabytes * 2**30 / (4 * COPIES * size))
    return min(n, max(fits, 1))


def extra_memory(shape: tuple[int, int, int]) -> float:
    """MB that the process grows by at most during a lookup."""
    n, size, dim = shape
    torch.set_num_threads(2)
    z, codebook = torch.randn(n, dim), torch.randn(size, dim)
    nearest(z[:2048], codebook[:4096])  # what libraries set up once
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is now the present
    before = _resident("VmRSS")
    nearest(z, codebook)
    return _resident("VmHWM") - before


def _resident(name: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def memory_over_size(options: argparse.Namespace) -> list[dict[str, float]]:
    """The extra memory for codebooks of several sizes, each in a process of its own."""
    rows = []
    for size in options.memory_sizes:
        shape = (options.memory_vectors, size, options.memory_dim)
        rows.append({"codewords": size, "mb": alone(extra_memory, shape)})
    return rows


def main() -> None:
    """Measures, prints two tables and writes them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--busy", action="store_true", help="beside a process on the first core")
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=7, help="in each process")
    parser.add_argument("--peer_repeats", type=int, default=2, help="the same; 0 for no peer")
    parser.add_argument("--peer_gigabytes", type=float, default=12)
    parser.add_argument("--shapes", type=int, nargs="*", default=range(len(SHAPES)))
    parser.add_argument("--memory_vectors", type=int, default=65_536)
    parser.add_argument("--memory_sizes", type=int, nargs="*", default=[4096, 65_536, 262_144])
    parser.add_argument("--memory_dim", type=int, default=16)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    with neighbour(options.busy):
        tell(options)


def tell(options: argparse.Namespace) -> None:
    """Measures and prints."""
    samples = f"{options.repeats} in each of {options.processes} processes"
    print(
        f"medians of {samples}, {options.threads} threads, "
        f"{'beside a busy core' if options.busy else 'alone'}, torch {torch.__version__}"
    )
    rows = []
    for number in options.shapes:
        row = compare(SHAPES[number], options)
        rows.append(row)
        print(
            f"  N {row['vectors']:6d}  K {row['codewords']:6d}  D {row['dim']:3d}"
            f"  product {row['ms']['product']:8.1f} ms"
            f"  lookup {row['lookup_over_product']:.2f}  step {row['step_over_product']:.2f} of it",
            end="",
        )
        for name, words in (("faiss", "of faiss"), ("one_thread", "of 1 thread's")):
            if f"lookup_over_{name}" in row:
                print(f"  lookup {row[f'lookup_over_{name}']:.2f} {words}", end="")
        if "peer_vectors" in row:
            print(
                f"  peer {row['ms']['peer']:9.1f} ms ({row['peer_vectors']} vectors): "
                f"{row['times_faster_than_peer']:.1f} times our step",
                end="",
            )
        print(flush=True)
    memory = memory_over_size(options)
    for each in memory:
        print(
            f"  N {options.memory_vectors}  K {each['codewords']:6d}  D {options.memory_dim}"
            f"  {each['mb']:6.1f} MB beside the arguments"
        )
    if options.out:
        settings = {key: str(value) for key, value in vars(options).items() if key != "out"}
        versions = {"torch": torch.__version__, "machine": platform.machine()}
        report = {**versions, "settings": settings, "shapes": rows, "memory": memory}
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
