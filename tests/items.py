"""A data set of items with vectors, and a recipe that gives them IDs in a second or two."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["items_recipe", "write_items"]

DIM = 6
FITTED = {
    "encoder": {"class_path": "IdentityEncoder"},
    "fitting": {"class_path": "ResidualKMeans", "init_args": {"iterations": 5}},
}
TRAINED = {
    "encoder": {"class_path": "MLPEncoder", "init_args": {"hidden": 8, "layers": 1}},
    "training": {"steps": 20, "batch_size": 32, "validate_every": 10, "save_every": 10},
}


def write_items(path: Path, n: int = 240, start: int = 0, groups: int = 12) -> Path:
    """Writes a table of items with an id, a vector and a category; of groups that lie close."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(groups, DIM))
    of = draw.integers(groups, size=start + n)
    x = (centres[of] + 0.05 * draw.normal(size=(start + n, DIM))).astype(np.float32)[start:]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), DIM)
    names = [f"item-{i}" for i in range(start, start + n)]
    groups_of = [f"group {g}" for g in of[start:]]
    table = {"item_id": names, "embedding": vectors, "group": groups_of}
    pq.write_table(pa.table(table), path)
    return path


def items_recipe(
    data: Path, collisions: str | None = "index", sizes=(6, 8), fitted: bool = False
) -> dict:
    """Residual codes of vectors, by an MLP that takes a few steps, or fitted without a network."""
    stages = [
        {
            "class_path": "VectorQuantizer",
            "init_args": {
                "codebook": {
                    "class_path": "EMACodebook",
                    "init_args": {"codebook_size": size, "dim": DIM if fitted else 4},
                }
            },
        }
        for size in sizes
    ]
    return {
        "data": {"class_path": "Vectors", "init_args": {"path": str(data)}},
        "tokenizer": {
            "quantizer": {"class_path": "ResidualQuantizer", "init_args": {"stages": stages}},
            **copy.deepcopy(FITTED if fitted else TRAINED),
        },
        "evaluation": {"samples": 16, "classifier_steps": 0, "feature_steps": 2},
        **({} if collisions is None else {"ids": {"collisions": collisions}}),
    }
