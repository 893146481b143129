"""Targeted change on a piece of Fashion-MNIST: what is outside the decoder's reach stays."""

from __future__ import annotations

import json

import pytest
import targeted_change
import torch

DATA = "tests/data/fashion-mnist"


def test_nothing_changes_beyond_the_reach(tmp_path):
    targeted_change.main(["--data", DATA, "--out", str(tmp_path), "--seeds", "1", "--budget", "3"])
    record = json.loads((tmp_path / "targeted_change.json").read_text())
    (row,) = record["rows"]
    assert row["reach"] < 16  # the farthest pixel there is
    assert record["findings"]["nothing changes beyond the decoder's reach"]
    assert set(row["edits"]) == set(targeted_change.EDITS)
    assert all(edit["profile"][0] > 0 for edit in row["edits"].values())
    assert (tmp_path / "targeted_change.png").stat().st_size > 10_000


def test_distances_and_profile_of_a_known_change():
    apart = targeted_change.distances((28, 28))
    assert (apart == 0).sum() == 12 * 12
    assert apart[4, 7] == 1 and apart[0, 0] == 8 and apart[27, 10] == 16
    profile = targeted_change.profile((2.0 * (apart == 1))[None, None], apart)
    assert profile == [0, 2] + 15 * [0]


def test_coarseness_is_1_of_blocks_and_0_of_checks():
    blocks = torch.randn(1, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    checks = torch.ones(1, 1, 32, 32)
    checks[..., ::2] = -1
    assert targeted_change.coarseness(blocks) == pytest.approx(1)
    assert targeted_change.coarseness(checks) == 0
