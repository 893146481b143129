"""Representations on a piece of Fashion-MNIST."""

from __future__ import annotations

import json

import representations
import torch
from models import CODEBOOK, vq_vae

from smalti.modalities.image import Images

DATA = "tests/data/fashion-mnist"


def test_features_are_those_of_the_tokens():
    splits = Images(DATA, 28, channels=1).load()
    model = vq_vae(splits, 2, seed=0)
    x = splits.test.__getitems__(range(3)).x
    found = representations.features(model, x)
    indices = model.encode(x)
    torch.testing.assert_close(found["z_q"], model.quantizer.decode(indices).flatten(1))
    counts = torch.bincount(indices[1].flatten(), minlength=CODEBOOK)
    torch.testing.assert_close(found["histogram"][1], counts / 49)


def test_labels_are_told_better_than_by_chance(tmp_path, monkeypatch):
    monkeypatch.setattr(representations, "PROBE_STEPS", 10)
    representations.main(["--data", DATA, "--out", str(tmp_path), "--seeds", "1", "--budget", "3"])
    record = json.loads((tmp_path / "representations.json").read_text())
    assert list(record["summary"]) == list(representations.SEEN)
    assert all(task["mean"] > 0.3 for task in record["summary"]["pixels"].values())
    assert (tmp_path / "representations.png").stat().st_size > 10_000
