"""Program of a test: fits and encodes vectors that are mapped from a file, and tells its memory.

    python tests/mapped_run.py FOLDER ROWS

Prints the most memory of its own that the process held, in MB. Pieces of
the file are small here, so that a whole copy of it would be seen. What was imported and takes much
memory, though such commands do without it, is printed last.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import yaml

from smalti.cli import main
from smalti.evaluation.measurements import identifiers
from smalti.ids import IdTable, nearest_free
from smalti.modalities.vector import conversion, neighbours, prefixes, source
from smalti.networks import moments
from smalti.quantizers.fitting import lloyd, refinement, rows
from smalti.training import quantizer_fitting
from tiny import fitted_recipe

DIM, PIECE = 1024, 256
HEAVY = ("lightning", "torch._dynamo", "sympy", "scipy", "sklearn", "transformers", "datasets")


def anonymous() -> float:
    """The memory of the process that is no file's, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def fitted(folder: Path, n: int) -> float:
    """Goes from n vectors in a file to IDs, a report and codes; returns the most memory."""
    file, run, most, ended = folder / f"{n}.npy", folder / f"run-{n}", [0.0], threading.Event()
    x = np.lib.format.open_memmap(file, "w+", np.float32, (n, DIM))
    draw = np.random.default_rng(0)
    for start in range(0, n, PIECE):
        x[start : start + PIECE] = draw.standard_normal((min(PIECE, n - start), DIM), np.float32)
    del x
    recipe = {**fitted_recipe(file), "ids": {"collisions": "nearest"}}
    recipe["data"]["init_args"]["normalize"] = "center"
    recipe["evaluation"] = {"samples": 16, "classifier_steps": 0, "feature_steps": 2}
    quantizer = recipe["tokenizer"]["quantizer"]["init_args"]
    stage = quantizer["stages"][0]
    stage["init_args"]["codebook"]["init_args"]["codebook_size"] = 64
    quantizer["stages"] = [stage] * 3  # room for all
    recipe["tokenizer"]["fitting"]["init_args"] = {"iterations": 1, "refine": 2}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")

    def watch() -> None:
        while not ended.wait(0.005):
            most[0] = max(most[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert main(["fit", str(folder / "recipe.yaml"), "--out", str(run)]) == 0
    out = folder / f"{n}.parquet"
    assert main(["encode", str(run), str(file), "--out", str(out)]) == 0
    ended.set()
    watcher.join()
    assert len(IdTable.read(run / "ids.parquet")) == n
    return most[0]


if __name__ == "__main__":
    for module in (conversion, prefixes, source):
        module.CHUNK = PIECE
    moments.PIECE = refinement.PIECE = quantizer_fitting.PIECE = PIECE
    rows.NUMBERS = refinement.NUMBERS = nearest_free.NUMBERS = PIECE * DIM
    neighbours.QUERIES, identifiers.COMPARED, lloyd.SAMPLE = 50, 500, 16
    most = fitted(Path(sys.argv[1]), int(sys.argv[2]))
    print(most, ",".join(name for name in HEAVY if name in sys.modules) or "-", file=sys.stderr)
