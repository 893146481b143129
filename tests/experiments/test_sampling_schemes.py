"""Sampling schemes on a piece of Fashion-MNIST: all is measured, and repeats."""

from __future__ import annotations

import json

import pytest
import sampling_schemes
import torch

DATA = "tests/data/fashion-mnist"


def measured(folder) -> dict:
    sampling_schemes.main(["--data", DATA, "--out", str(folder), "--seeds", "2", "--budget", "3"])
    return json.loads((folder / "sampling_schemes.json").read_text())


def test_it_repeats_and_says_what_must_be_so(tmp_path):
    first, again = measured(tmp_path / "a"), measured(tmp_path / "b")
    assert first["rows"] == again["rows"]
    schemes = first["summary"]
    assert {"uniform", "histogram 10", "histogram 100", "prior"} < set(schemes)
    assert schemes["uniform"]["nats"]["mean"] == pytest.approx(4.158883, abs=1e-5)  # log 64
    assert first["findings"]["the histogram draws nothing new"]
    assert (tmp_path / "a" / "sampling_schemes.png").stat().st_size > 10_000


def test_novelty_is_the_distance_to_the_nearest():
    training = torch.tensor([[[0, 1], [2, 3]], [[4, 4], [4, 4]]])
    grids = torch.tensor([[[0, 1], [2, 4]], [[4, 4], [4, 4]]])
    assert sampling_schemes.novelty(grids, training) == 0.125  # 1 of 4, 0 of 4
