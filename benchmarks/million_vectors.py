"""A million vectors from a file to IDs: `smalti fit` and `smalti encode` as whole processes.

    python benchmarks/million_vectors.py --vectors 1000000 --threads 2

Draws vectors of 128 dimensions from a mixture into an .npy, fits 3×256 codes of residual k-means to
them, with IDs and report, and encodes the file with what was learned. What is asked of both
together is 10 minutes with two threads, and 1 GB of memory beyond the file, which is mapped: the
resident memory of a process less those pages of it that are of the file, at its peak.

Then the codes of as many vectors as memory holds easily are searched by smalti and by faiss's
ResidualQuantizer with the same codebooks and the same beam, with one thread and with `--threads`,
where faiss is installed (`pip install 'smalti[bench]'`); with tables is its faster way,
`use_beam_LUT`. They take turns, and the best of each is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

import smalti
from smalti.quantizers import ResidualQuantizer

DIM, COMPONENTS, CHUNK = 128, 10_000, 65_536
RECIPE = "semantic-ids-kmeans"


def draw(path: Path, n: int, spread: float = 1.0) -> None:
    """Writes vectors around centres to an .npy, a part at a time."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((COMPONENTS, DIM), np.float32)
    x = np.lib.format.open_memmap(path, "w+", np.float32, (n, DIM))
    for start in range(0, n, CHUNK):
        part = generator.standard_normal((min(CHUNK, n - start), DIM), np.float32)
        x[start : start + CHUNK] = (
            spread * part + centres[generator.integers(COMPONENTS, size=len(part))]
        )
    x.flush()


class Memory:
    """Watches the most memory that a process holds beside the pages of a file, in GB.

    Arguments:
        pid: The process.
        file: The file, mapped or not.
    """

    def __init__(self, pid: int, file: Path) -> None:
        self.beyond, self._ended = 0.0, threading.Event()
        self._watcher = threading.Thread(target=self._watch, args=(pid, str(file)), daemon=True)
        self._watcher.start()

    def end(self) -> float:
        """Ends the watch, and returns what was the most."""
        self._ended.set()
        self._watcher.join()
        return round(self.beyond, 2)

    def _watch(self, pid: int, file: str) -> None:
        others, turn = 0, 0  # of other files, such as libraries, which takes long to find out
        while not self._ended.wait(0.1):
            try:
                if not turn % 20:
                    others = max(others, _of_other_files(pid, file))
                own = _own(pid)
            except (OSError, ValueError):  # it has just ended
                continue
            self.beyond, turn = max(self.beyond, 1024 * (own + others) / 1e9), turn + 1


def watched(words: list[str], file: Path, threads: int) -> dict[str, float]:
    """Runs smalti as a process of its own: returns what it took."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "smalti", *words],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    memory = Memory(process.pid, file)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"smalti {words[0]} ended with the status {status}.")
    told = {
        "seconds": round(seconds, 1),
        "processor seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "GB beyond the file": memory.end(),
    }
    print(words[0], told, file=sys.stderr)
    return told


def _own(pid: int) -> int:
    """Returns the memory of a process that is no file's, in kB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem")))


def _of_other_files(pid: int, file: str) -> int:
    """Returns the resident pages of all files but one, in kB."""
    total, counts = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name in ("Rss", "Anonymous") and counts:
            total += int(value.split()[0]) * (1 if name == "Rss" else -1)
        elif "-" in name.split(" ", 1)[0]:
            counts = "/" in line and not line.endswith(file)
    return total


def searched(run: Path, x: torch.Tensor, threads: int, repeats: int) -> dict[str, dict[str, float]]:
    """Returns the seconds of each search, by beam and threads."""
    quantizer = cast(ResidualQuantizer, smalti.load(run).autoencoder.quantizer)
    found: dict[str, dict[str, float]] = {}
    for beam in (1, 5):
        for count in sorted({1, threads}):
            torch.set_num_threads(count)
            quantizer.beam = beam
            ways: dict[str, Callable[[], Any]] = {"smalti": lambda: quantizer.encode(x)}
            if find_spec("faiss") is not None:
                for name, tables in ("faiss", False), ("faiss with tables", True):
                    ways[name] = faiss_search(quantizer, x, beam, count, tables)
            best = dict.fromkeys(ways, float("inf"))
            for _ in range(repeats):
                for name, work in ways.items():
                    start = time.perf_counter()
                    work()
                    best[name] = min(best[name], time.perf_counter() - start)
            found[f"beam {beam}, threads {count}"] = {k: round(v, 3) for k, v in best.items()}
    return found


def faiss_search(
    quantizer: ResidualQuantizer, x: torch.Tensor, beam: int, threads: int, tables: bool
) -> Callable[[], Any]:
    """Searches the same codebooks by faiss, with as many threads."""
    import faiss

    books = torch.cat([stage.euclidean_codewords() for stage in quantizer._stages()])  # type: ignore[misc]
    other = faiss.ResidualQuantizer(x.shape[1], len(quantizer.codebook_sizes), 8)
    faiss.copy_array_to_vector(books.detach().numpy().ravel(), other.codebooks)
    other.is_trained, other.max_beam_size, other.use_beam_LUT = True, beam, int(tables)
    other.compute_codebook_tables()
    array = x.numpy()

    def search() -> Any:
        faiss.omp_set_num_threads(threads)
        return other.compute_codes(array)

    ours, theirs = quantizer.decode(quantizer.encode(x[:1000])), other.decode(search()[:1000])
    errors = [float((x[:1000] - torch.as_tensor(y)).square().mean()) for y in (ours, theirs)]
    assert abs(errors[0] - errors[1]) < 0.01 * errors[0], f"not the same codes: {errors}"
    return search


def main() -> None:
    """Prints what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--searched", type=int, default=100_000, help="vectors beside faiss")
    parser.add_argument("--repeats", type=int, default=5, help="of each search")
    parser.add_argument("--options", nargs="*", default=[], help="further options of smalti fit")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file, run, codes = (Path(folder) / name for name in ("x.npy", "run", "codes.parquet"))
        draw(file, asked.vectors)
        words = ["fit", RECIPE, "--data", str(file), "--out", str(run), *asked.options]
        words.append(f"--hardware.threads={asked.threads}")
        fitted = watched(words, file, asked.threads)
        words = ["encode", str(run), str(file), "--out", str(codes)]
        encoded = watched(words, file, asked.threads)
        report = json.loads((run / "report.json").read_text(encoding="utf-8"))["figures"]
        error = report["reconstruction"]["mse_over_variance"]["value"]
        x = torch.from_numpy(np.array(np.load(file, mmap_mode="r")[: asked.searched]))
        of = {
            "vectors": asked.vectors,
            "threads": asked.threads,
            "file in GB": round(file.stat().st_size / 1e9, 2),
            "minutes, both": round((fitted["seconds"] + encoded["seconds"]) / 60, 2),
            "MSE/variance": round(error, 4),
        }
        searches = searched(run, x, asked.threads, asked.repeats)
    told = {"fit": fitted, "encode": encoded, f"seconds of {len(x)} searches": searches}
    print(json.dumps({**of, **told}, indent=1))


if __name__ == "__main__":
    main()
