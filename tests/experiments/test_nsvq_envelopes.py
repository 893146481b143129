"""The experiment of NSVQ on envelopes, of voices made by code."""

from __future__ import annotations

import io
import json

import nsvq_envelopes
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import soundfile
import torch
from torch.nn import functional as F

from smalti.quantizers import NSVQ, GradientCodebook, VectorQuantizer
from voices import voice


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for name, rate in zip(nsvq_envelopes.SETS, (16000, 22050), strict=True):
        (folder / name).mkdir()
        for seed, split in enumerate(("train", "test")):
            rows = []
            for pitch in (100.0, 140.0):
                flac = io.BytesIO()
                soundfile.write(flac, voice(1.0, rate, pitch, seed).numpy(), rate, format="FLAC")
                rows.append({"bytes": flac.getvalue(), "path": None})
            parquet.write_table(pa.table({"audio": rows}), folder / name / f"{split}-0.parquet")
    return folder


def test_every_estimator_is_measured_at_every_number_of_bits(data, tmp_path, monkeypatch):
    monkeypatch.setattr(nsvq_envelopes, "BITS", (2, 4))
    nsvq_envelopes.main(
        ["--data", str(data), "--out", str(tmp_path), "--seeds", "2", "--budget", "4"]
    )
    record = json.loads((tmp_path / "nsvq_envelopes.json").read_text())
    assert len(record["rows"]) == 2 * 2 * 3 and len(record["summary"]) == 2 * 3
    assert len({row["distortion"] for row in record["rows"]}) == 12
    assert set(record["findings"]["4 bits, NSVQ over straight-through"]) == {"mean", "seeds below"}
    assert (tmp_path / "nsvq_envelopes.png").stat().st_size > 10_000


def test_envelopes_are_in_decibels_and_have_no_silence():
    x = torch.cat([voice(1.0), torch.zeros(16000)]).float()
    loud, quiet = (nsvq_envelopes.envelopes((gain * x).numpy()) for gain in (1.0, 0.1))
    assert loud.shape[1] == nsvq_envelopes.BANDS and 20 < len(loud) <= 51
    assert torch.allclose(loud - quiet, torch.tensor(20.0), atol=1e-2)


def test_without_a_network_nsvq_is_the_codebook_loss():
    z = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    gradients = []
    for estimator in (NSVQ(), None):
        torch.manual_seed(0)
        quantizer = VectorQuantizer(
            GradientCodebook(codebook_size=8, dim=3), estimator, kmeans_iterations=0
        ).train()
        output, _, losses = quantizer(z)
        (F.mse_loss(output, z) if estimator else losses["codebook"]).backward()
        (codewords,) = quantizer.parameters()
        gradients.append(codewords.grad)
    assert gradients[0].abs().max() > 0
    assert torch.allclose(*gradients, atol=1e-6)


def test_the_data_must_be_given(capsys):
    with pytest.raises(SystemExit):
        nsvq_envelopes.main([])
    assert "--data" in capsys.readouterr().err
