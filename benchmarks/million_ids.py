"""IDs of a million items: how long collisions, files and lookups take.

    python benchmarks/million_ids.py --items 1000000 --threads 2

Draws vectors of 128 dimensions from a mixture into a file that is mapped into memory, learns 3×256
codes of residual k-means on 65,536 of them, and gives all an ID.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from million_vectors import Memory, draw

from smalti import SemanticIDs
from smalti.ids import CodeSpace, IdTable, PrefixTree, occupancy, resolve_collisions
from smalti.name_array import NameArray

LEARNED = 65_536


def timed(seconds: dict[str, float], what: str, work: Callable[[], Any]) -> Any:
    """Does something, and keeps how long it took."""
    start = time.perf_counter()
    done = work()
    seconds[what] = round(time.perf_counter() - start, 2)
    return done


def main() -> None:
    """Prints the times as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--spread", type=float, default=1.0, help="of a component")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder) / "x.npy", asked.items, asked.spread)
        measure(Path(folder), asked.threads)


def measure(folder: Path, threads: int) -> None:
    """Gives the vectors of a folder IDs, and prints what that takes."""
    seconds, memory = dict[str, float](), Memory(os.getpid(), folder / "x.npy")
    x = np.load(folder / "x.npy", mmap_mode="r")
    ids = SemanticIDs(random_state=0, iterations=3).fit(x[:LEARNED])
    codes = timed(seconds, "encoding", lambda: ids.transform(x))
    names, sizes = NameArray.numbered(len(x), "item-"), ids.quantizer_.codebook_sizes
    tree = timed(seconds, "prefix tree", lambda: PrefixTree(codes, sizes))
    used = timed(seconds, "figures", lambda: occupancy(tree))
    space = CodeSpace(ids._vectors_of, lambda rows: torch.from_numpy(np.array(x[rows.numpy()])))
    timed(seconds, "resolved by index", lambda: resolve_collisions(codes, sizes, "index"))
    moved = timed(
        seconds,
        "resolved to the nearest free",
        lambda: resolve_collisions(codes, sizes, "nearest", space=space),
    )
    assert len(PrefixTree(moved.codes, sizes).keys[-1]) == len(x)
    table = timed(seconds, "table, by index", lambda: IdTable.of(names.array, codes, sizes))
    path = folder / "ids.parquet"
    timed(seconds, "written", lambda: table.write(path))
    table = timed(seconds, "read", lambda: IdTable.read(path))
    timed(seconds, "first lookup of a prefix", lambda: table.items(codes[0, :2]))
    timed(seconds, "lookup of an item", lambda: table.row(names[-1]))
    of = {
        "items": len(x),
        "threads": threads,
        "processor": platform.processor() or platform.machine(),
        "share of items that share their codes": round(1 - used.alone, 3),
        "share that nearest moves": round(float((moved.codes != codes).any(1).mean()), 3),
        "GB beyond the file, at the peak": memory.end(),
    }
    print(json.dumps({**of, "seconds": seconds}, indent=1))


if __name__ == "__main__":
    main()
