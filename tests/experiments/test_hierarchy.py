"""One level against two on a piece of Fashion-MNIST."""

from __future__ import annotations

import json
import math

import hierarchy

DATA = "tests/data/fashion-mnist"


def test_all_models_have_the_same_bits():
    coarse, fine = 4 * 4, 8 * 8
    for sizes, _ in hierarchy.MODELS.values():
        places = (fine,) if len(sizes) == 1 else (coarse, fine)
        bits = sum(n * math.log2(k) for n, k in zip(places, sizes, strict=True))
        assert bits == hierarchy.BITS


def test_every_model_is_measured(tmp_path):
    hierarchy.main(["--data", DATA, "--out", str(tmp_path), "--seeds", "1", "--budget", "2"])
    record = json.loads((tmp_path / "hierarchy.json").read_text())
    assert [row["model"] for row in record["rows"]] == list(hierarchy.MODELS)
    for row in record["rows"]:
        assert row["bits"] == sum(row["bits of levels"]) > 0
        assert len(row["bits of levels"]) == len(hierarchy.MODELS[row["model"]].codebooks)
    assert (tmp_path / "hierarchy.png").stat().st_size > 10_000
