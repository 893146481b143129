"""Codes of a sum that are searched together: the laws of beam search."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from torch import Tensor

from smalti.artifacts import load_model, save_model
from smalti.errors import InputError
from smalti.quantizers import (
    Cosine,
    EMACodebook,
    Entropy,
    FiniteScalarQuantizer,
    GradientCodebook,
    ProjectedQuantizer,
    ResidualQuantizer,
    ScaledQuantizer,
    VectorQuantizer,
    beam,
)
from smalti.quantizers.beam import beam_search, greedy_search

DIM = 6
WAYS = ["compiled", "torch"]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(beam, "compiled_library", lambda: None)
    elif not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("no compiler here")
    return request.param


def books(*sizes: int, seed: int = 0) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [0.7**q * torch.randn(size, DIM, generator=draw) for q, size in enumerate(sizes)]


def vectors(n: int = 400, seed: int = 1) -> Tensor:
    return 2 * torch.randn(n, DIM, generator=torch.Generator().manual_seed(seed))


def sums(codewords: list[Tensor], index: Tensor) -> Tensor:
    return sum(book[index[:, q]] for q, book in enumerate(codewords))


def errors(z: Tensor, codewords: list[Tensor], index: Tensor) -> Tensor:
    return (sums(codewords, index) - z).double().square().sum(1)


def all_sums(codewords: list[Tensor]) -> Tensor:
    found = codewords[0]
    for book in codewords[1:]:
        found = (found[:, None] + book).flatten(0, 1)
    return found


@pytest.mark.parametrize("sizes", [(5, 7, 3), (1, 20), (40, 2, 17), (3, 3, 3, 3, 3)])
def test_a_beam_of_all_sums_is_exhaustive(sizes, way):
    z, codewords = vectors(), books(*sizes)
    index = beam_search(z, codewords, int(torch.tensor(sizes).prod()))
    best = torch.cdist(z.double(), all_sums(codewords).double()).amin(1).square()
    torch.testing.assert_close(errors(z, codewords, index), best, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes", [(16, 16, 16), (8, 32, 64), (9,) * 6])
def test_the_error_falls_as_the_beam_widens(sizes, way):
    z, codewords = vectors(), books(*sizes)
    found = [errors(z, codewords, beam_search(z, codewords, b)).mean() for b in (1, 2, 4, 16, 64)]
    assert all(wider < 1.001 * narrower for narrower, wider in zip(found, found[1:], strict=False))
    assert found[-1] < 0.95 * found[0]


def test_compiled_code_and_torch_find_the_same(monkeypatch):
    z, codewords = vectors(3000), books(33, 8, 100)
    for width in (2, 7, 50, 900):
        found = beam_search(z, codewords, width)
        with monkeypatch.context() as patch:
            patch.setattr(beam, "compiled_library", lambda: None)
            patch.setattr(beam, "SCORES", 2**14)  # several blocks
            assert torch.equal(beam_search(z, codewords, width), found)
        with monkeypatch.context() as patch:
            patch.setattr(beam, "MOST_KEPT", 0)  # codebooks too large for their products
            assert torch.equal(beam_search(z, codewords, width), found)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(beam_search(z, codewords, 900), found)
    finally:
        torch.set_num_threads(threads)


def test_far_from_the_origin_and_at_any_scale_it_finds_the_same(way):
    z, codewords = vectors(), books(16, 16, 16)
    wanted = errors(z, codewords, beam_search(z, codewords, 8))
    for scale in (1e-12, 1e12):
        index = beam_search(scale * z, [scale * book for book in codewords], 8)
        torch.testing.assert_close(errors(z, codewords, index), wanted, rtol=1e-4, atol=1e-4)
    offset = 4096.0
    index = beam_search(z + offset, [codewords[0] + offset, *codewords[1:]], 8)
    assert errors(z, codewords, index).mean() == pytest.approx(wanted.mean().item(), rel=1e-3)


def test_what_is_not_finite_or_far_out(way):
    z, codewords = vectors(), books(16, 16, 16)
    wanted = beam_search(z, codewords, 8)
    z[3, 1], z[4, 0], z[5], z[6, 2] = torch.nan, -torch.inf, 1e30, -1e38
    index = beam_search(z, codewords, 8)
    others = torch.ones(len(z), dtype=torch.bool)
    others[3:7] = False
    assert torch.equal(index[others], wanted[others])
    assert (index[3:5] == -1).all()
    assert torch.equal(index[5:7], greedy_search(z[5:7], codewords))
    # A codeword that is not finite is in no sum.
    broken = [book.clone() for book in codewords]
    broken[0][2], broken[2][7, 3] = torch.nan, torch.inf
    index = beam_search(z[others], broken, 8)
    assert (index >= 0).all() and (index[:, 0] != 2).all() and (index[:, 2] != 7).all()
    assert beam_search(z[:0], codewords, 8).shape == (0, 3)


def vq(size: int = 16, codebook: type = GradientCodebook, **parts) -> VectorQuantizer:
    return VectorQuantizer(codebook(codebook_size=size, dim=DIM), **parts)


def quantizers() -> dict[str, ResidualQuantizer]:
    torch.manual_seed(0)
    return {
        "unequal sizes": ResidualQuantizer([vq(8), vq(16, EMACodebook), vq(64)]),
        "a shared codebook": ResidualQuantizer([vq(12)] * 3),
        "scaled stages": ResidualQuantizer([ScaledQuantizer(vq(20), s) for s in (1.0, 0.4, 0.2)]),
        "regularised": ResidualQuantizer([vq(regularisers=[Entropy(diversity=0)]), vq()]),
        "one stage": ResidualQuantizer([vq()]),
    }


@pytest.fixture(params=quantizers())
def quantizer(request):
    return quantizers()[request.param].eval()


def test_a_beam_of_one_is_greedy_bit_for_bit(quantizer):
    z, again = vectors(), copy.deepcopy(quantizer)
    again.beam = 5
    again.beam = 1
    found, wanted = again(z), quantizer(z)
    assert torch.equal(found.indices, wanted.indices)
    assert torch.equal(found.quantized, wanted.quantized)
    assert all(torch.equal(found.losses[name], loss) for name, loss in wanted.losses.items())


def test_a_beam_lowers_the_error_of_encode_and_forward_alike(quantizer):
    z = vectors()
    greedy = quantizer(z)
    quantizer.beam = 6
    output, indices = quantizer(z), quantizer.encode(z)
    assert torch.equal(output.indices, indices)
    assert torch.equal(output.quantized, quantizer.decode(indices))
    error, before = ((o.quantized - z).square().mean() for o in (output, greedy))
    assert error < before or len(quantizer.codebook_sizes) == 1
    assert output.losses.keys() == greedy.losses.keys()
    # Each stage's commitment loss is the distance to the sum so far.
    parts = indices.reshape(len(z), -1)
    prefixes = [quantizer.decode(parts[:, :q]) for q in range(1, parts.shape[1] + 1)]
    if parts.shape[1] > 1:
        wanted = sum((z - z_q).square().mean() for z_q in prefixes) / len(prefixes)
        torch.testing.assert_close(output.losses["commitment"], wanted)


def test_training_stays_greedy(quantizer):
    z, other = vectors(), copy.deepcopy(quantizer).train()
    wanted = quantizer.encode(z)
    other.beam = 6
    assert torch.equal(other(z).indices, wanted)


def test_masked_positions_count_for_nothing(quantizer):
    quantizer.beam = 6
    z, mask = vectors(40).view(2, 20, DIM), torch.ones(2, 20, dtype=torch.bool)
    mask[1, 12:] = False
    wanted = quantizer(z[1:, :12])
    z[1, 12:] = torch.nan
    output = quantizer(z, mask)
    assert (output.indices[1, 12:] == -1).all() and (output.quantized[1, 12:] == 0).all()
    assert torch.equal(output.indices[1:, :12], wanted.indices)
    assert all(loss.isfinite() for loss in output.losses.values())


def test_a_beam_is_set_after_loading_and_saved(quantizer, tmp_path):
    z = vectors()
    save_model(quantizer, tmp_path / "greedy")
    loaded = load_model(tmp_path / "greedy")
    assert loaded.beam == 1 and torch.equal(loaded.encode(z), quantizer.encode(z))
    loaded.beam = quantizer.beam = 6
    save_model(loaded, tmp_path / "wide")
    again = load_model(tmp_path / "wide")
    assert again.beam == 6 and torch.equal(again.encode(z), quantizer.encode(z))


def test_where_a_beam_means_nothing_it_is_refused_in_one_line():
    for stage in (
        vq(geometry=Cosine()),
        ProjectedQuantizer(vq(), DIM),
        ScaledQuantizer(FiniteScalarQuantizer([5] * DIM), 0.5),
    ):
        quantizer = ResidualQuantizer([stage, vq()])
        with pytest.raises(InputError, match="smallest Euclidean distance, got") as told:
            quantizer.beam = 2
        assert "\n" not in str(told.value) and quantizer.beam == 1
        with pytest.raises(InputError, match="Euclidean"):
            ResidualQuantizer([stage, vq()], beam=2)
    for wrong in (0, -3, 2.0, True, "5"):
        with pytest.raises(InputError, match="whole number from 1"):
            ResidualQuantizer([vq()], beam=wrong)
