"""Disentanglement over beta, with hardly any training: all is measured, and repeats."""

from __future__ import annotations

import json
from itertools import product

import disentanglement
import pytest
import torch


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(disentanglement, "BETAS", (4.0,))
    monkeypatch.setattr(disentanglement, "MEASURED", 300)


def measured(folder, seeds: int) -> dict:
    disentanglement.main(["--out", str(folder), "--seeds", str(seeds), "--budget", "2"])
    return json.loads((folder / "disentanglement.json").read_text())


def test_it_repeats_and_every_figure_is_in_its_range(tmp_path):
    first, again = measured(tmp_path / "a", 2), measured(tmp_path / "b", 1)
    assert [row for row in first["rows"] if row["seed"] == 0] == again["rows"]
    assert [(row["data"], row["beta"], row["seed"]) for row in first["rows"]] == list(
        product(("grid", "clocks"), (None, 4.0), (0, 1))
    )
    for row in first["rows"]:
        assert 0 <= row["mig"] <= 1
        assert 0 <= row["disentanglement"] <= 1
        assert 0 <= row["completeness"] <= 1
        assert 0 <= row["active_units"] <= disentanglement.DIM
        assert row["error"] > 0.3  # nothing is learned in two steps
    assert (tmp_path / "a" / "disentanglement.png").stat().st_size > 10_000


def test_latents_of_a_vae_are_draws_around_their_means():
    source, _ = disentanglement.sources(50).grid
    signal = source.load().signal
    x = torch.rand(200, 3, 16, 16)
    z, mean = disentanglement.latents(disentanglement.build(None, signal), x, seed=0)
    assert torch.equal(z, mean)
    model = disentanglement.build(1.0, signal)
    z, mean = disentanglement.latents(model, x, seed=0)
    with torch.no_grad():
        posterior = model.posterior(x)
    torch.testing.assert_close(mean, posterior.mean)
    standardised = (z - mean) * (-posterior.log_variance / 2).exp()
    assert abs(standardised.mean().item()) < 0.1
    assert abs(standardised.std().item() - 1) < 0.1
