"""The search where torch has no oneDNN, or its private product is gone or means something else."""

from types import SimpleNamespace

import pytest
import torch

from smalti.processors import fused_linear
from smalti.quantizers import nearest, search
from smalti.quantizers.screening import can_screen
from smalti.quantizers.tiles import split_in_tiles, tile_scores

Z = torch.randn(300, 32, generator=torch.Generator().manual_seed(0))
CODEBOOK = torch.randn(2**12 + 7, 32, generator=torch.Generator().manual_seed(1))


def refuse(*_):
    raise RuntimeError("_linear_pointwise() got an unexpected argument")


ABSENT = {
    "gone": SimpleNamespace(),
    "of other arguments": SimpleNamespace(_linear_pointwise=refuse),
    "of another meaning": SimpleNamespace(_linear_pointwise=lambda z, e, *_: z @ e.T),
}


@pytest.fixture(params=ABSENT)
def without(request, monkeypatch):
    monkeypatch.setattr(search, "native_nearest", lambda *_: None)  # which comes before it
    monkeypatch.setattr("smalti.quantizers.screening.fast_in_bfloat16", lambda: True)
    monkeypatch.setattr(torch.ops, "mkldnn", ABSENT[request.param])
    fused_linear.cache_clear()
    yield
    fused_linear.cache_clear()


def test_the_plain_product_takes_its_place(without):
    assert fused_linear() is None
    assert fused_linear(torch.bfloat16) is None
    assert not can_screen(CODEBOOK)
    tile = next(split_in_tiles(CODEBOOK, 0))
    expected = Z @ tile.codewords.T - tile.codewords.square().sum(1) / 2
    assert torch.allclose(tile_scores(Z, tile), expected, atol=1e-5)


def test_the_nearest_is_found_all_the_same(without):
    exact = torch.cdist(Z.double(), CODEBOOK.double()).argmin(1)
    assert torch.equal(nearest(Z, CODEBOOK), exact)
