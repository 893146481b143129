"""The commitment experiment on a piece of Fashion-MNIST."""

from __future__ import annotations

import json

import commitment
import pytest

DATA = "tests/data/fashion-mnist"


def test_every_case_is_measured_and_beta_matters_from_the_first_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(commitment, "BETAS", (0.1, 2.0))
    commitment.main(["--data", DATA, "--out", str(tmp_path), "--seeds", "2", "--budget", "4"])
    record = json.loads((tmp_path / "commitment.json").read_text())
    assert len(record["rows"]) == 2 * 2 * 2 * 2
    assert len({row["error"] for row in record["rows"]}) > 8
    assert (tmp_path / "commitment.png").stat().st_size > 10_000


def test_findings_follow_from_the_means():
    def row(codebook: str, way: str, beta: float) -> dict:
        error = beta if codebook == "gradient" else 1.0
        error -= 0.05 if way == "warm-up" else 0
        return {"codebook": codebook, "way": way, "beta": beta, "error": {"mean": error}}

    found = [
        row(codebook, way, beta)
        for codebook in commitment.CODEBOOKS
        for way in commitment.WARMUPS
        for beta in commitment.BETAS
    ]
    said = commitment.findings(found)
    assert not said["gradient: robust to beta from 0.1 to 2.0"]
    assert said["EMA, k-means, dead-code reset: robust to beta from 0.1 to 2.0"]
    assert said["gradient: the warm-up lowers the error at every beta"]
    assert commitment.ratios(found)["gradient"]["at once"] == pytest.approx(20)
