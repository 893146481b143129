"""Posterior collapse on a piece of Fashion-MNIST: all is measured, and repeats."""

from __future__ import annotations

import json
import math

import posterior_collapse
import pytest
import torch

from smalti.modalities.image import Image

DATA = "tests/data/fashion-mnist"


def measured(folder, seeds: int) -> dict:
    posterior_collapse.main(
        ["--data", DATA, "--out", str(folder), "--seeds", str(seeds), "--budget", "2"]
    )
    return json.loads((folder / "posterior_collapse.json").read_text())


def test_it_repeats_and_every_figure_is_in_its_range(tmp_path, monkeypatch):
    monkeypatch.setattr(posterior_collapse, "REDRAWN", 8)
    first, again = measured(tmp_path / "a", 2), measured(tmp_path / "b", 1)
    assert [row for row in first["rows"] if row["seed"] == 0] == again["rows"]
    assert len(first["summary"]) == len(posterior_collapse.CASES)
    for row in first["rows"]:
        assert row["information"] < first["log_n"] + 1e-6 == pytest.approx(math.log(50) + 1e-6)
        assert 0 < row["reconstruction"] < row["bits"]
        assert 0 <= row["kept"] <= 1
    assert (tmp_path / "a" / "posterior_collapse.png").stat().st_size > 10_000


def test_a_decoder_that_ignores_its_latents_takes_nothing_from_them():
    case = posterior_collapse.CASES[0]
    model = posterior_collapse.build(case, Image(1, (12, 12))).eval()
    x = posterior_collapse.coarse(2 * torch.rand(6, 1, 12, 12) - 1)
    assert abs(posterior_collapse.of_vae(model, x, seed=0)["gain"]) > 1e-5
    torch.nn.init.zeros_(model.decoder.linear.weight)
    assert posterior_collapse.of_vae(model, x, seed=0)["gain"] == 0


def test_there_are_four_levels():
    x = torch.linspace(-1, 1, 100)
    coarse = posterior_collapse.coarse(x)
    torch.testing.assert_close(coarse.unique(), torch.tensor([-1, -1 / 3, 1 / 3, 1]))
    torch.testing.assert_close(posterior_collapse.coarse(coarse), coarse)
