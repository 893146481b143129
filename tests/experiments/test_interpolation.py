"""Interpolation on a piece of Fashion-MNIST: all is measured, and repeats; ways have their ends."""

from __future__ import annotations

import json

import interpolation
import torch
from models import vae, vq_vae

from smalti.modalities.image import Images

DATA = "tests/data/fashion-mnist"


def measured(folder) -> dict:
    interpolation.main(["--data", DATA, "--out", str(folder), "--seeds", "2", "--budget", "2"])
    return json.loads((folder / "interpolation.json").read_text())


def test_it_repeats_and_every_figure_is_in_its_range(tmp_path):
    first, again = measured(tmp_path / "a"), measured(tmp_path / "b")
    assert first["rows"] == again["rows"]
    assert len(first["summary"]) == 1 + len(interpolation.WAYS) * interpolation.POINTS
    for row in first["rows"]:
        assert 0.1 <= row["confidence"] <= 1
        assert 0 <= row["elsewhere"] <= 1
        assert row["distance"] >= 0
    assert (tmp_path / "a" / "interpolation.png").stat().st_size > 10_000


def test_a_way_begins_and_ends_with_the_reconstructions_and_tokens_change_one_by_one():
    splits = Images(DATA, 28, channels=1).load()
    continuous, discrete = vae(splits, 1, seed=0), vq_vae(splits, 1, seed=0)
    x_a, x_b, classes = interpolation.ends(splits.test)
    assert classes.unique(dim=0).tolist() == sorted(map(list, interpolation.PAIRS))
    paths = interpolation.ways(continuous, discrete, x_a, x_b, seed=0)
    for way, model in {"vae": continuous, "vectors": discrete, "tokens": discrete}.items():
        for place, x in (0, x_a), (-1, x_b):
            torch.testing.assert_close(paths[way][place], model.decode(model.encode(x)))
    torch.testing.assert_close(paths["pixels"][4], (x_a + x_b) / 2)


def test_the_distance_is_that_to_the_nearest():
    images, neighbours = torch.rand(5, 1, 3, 3), torch.rand(7, 9)
    differences = images.flatten(1)[:, None] - neighbours
    wanted = differences.square().mean(dim=2).sqrt().min(dim=1).values
    torch.testing.assert_close(interpolation._to_nearest(images, neighbours), wanted)
