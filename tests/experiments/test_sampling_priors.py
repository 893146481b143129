"""Sampling from priors on a piece of Fashion-MNIST: all is measured, and repeats."""

from __future__ import annotations

import json

import pytest
import sampling_priors
import torch

DATA = "tests/data/fashion-mnist"


def measured(folder) -> dict:
    sampling_priors.main(["--data", DATA, "--out", str(folder), "--seeds", "2", "--budget", "3"])
    return json.loads((folder / "sampling_priors.json").read_text())


def test_it_repeats_and_says_what_must_be_so(tmp_path):
    first, again = measured(tmp_path / "a"), measured(tmp_path / "b")
    assert first["rows"] == again["rows"]
    priors = first["summary"]
    assert {"uniform", "histogram 10", "histogram 100", "prior"} < set(priors)
    assert priors["uniform"]["nats"]["mean"] == pytest.approx(4.158883, abs=1e-5)  # log 64
    assert first["findings"]["the histogram draws nothing new"]
    assert (tmp_path / "a" / "sampling_priors.png").stat().st_size > 10_000


def test_novelty_is_the_distance_to_the_nearest():
    training = torch.tensor([[[0, 1], [2, 3]], [[4, 4], [4, 4]]])
    grids = torch.tensor([[[0, 1], [2, 4]], [[4, 4], [4, 4]]])
    assert sampling_priors.novelty(grids, training) == 0.125  # 1 of 4, 0 of 4
