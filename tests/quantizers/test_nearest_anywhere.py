"""The codeword that is found is the nearest, wherever vectors and codewords lie."""

import pytest
import torch

from placements import PLACES, assert_nearest, distances, normal, one_far
from smalti.quantizers import nearest, search
from smalti.quantizers.exact import exact_nearest
from smalti.quantizers.screening import FEWEST


@pytest.mark.parametrize("place", PLACES)
def test_it_is_the_nearest_anywhere(place):
    for k, dim in [(2, 1), (32, 8), (70, 3), (600, 1), (600, 64), (1500, 4), (FEWEST // 64, 64)]:
        z, codebook = PLACES[place](k, dim)
        index = nearest(z, codebook)
        assert_nearest(index, z, codebook)
        assert_nearest(nearest(z.double(), codebook), z, codebook)
        assert_nearest(exact_nearest(z, codebook), z, codebook, rtol=1e-8)


def test_the_cases_that_were_wrong():
    codewords = torch.tensor([[0.0], [1.0], [1e8]])
    vectors = torch.tensor([[0.9], [0.1], [9e7], [5.1e7], [4.9e7]])
    assert nearest(vectors, codewords).tolist() == [1, 0, 2, 2, 1]
    z, codebook = one_far(32, 8)
    assert torch.equal(nearest(z, codebook), distances(z, codebook).argmin(1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes(dtype):
    z, codebook = (4 * normal(200, 5)).to(dtype), (4 * normal(300, 5)).to(dtype)
    for left, right in [(z, codebook), (z.float(), codebook), (z, codebook.float())]:
        assert_nearest(nearest(left, right), left, right)
    # In float16 no square of these has room.
    z, codebook = (3000 * normal(100, 3)).to(dtype), (3000 * normal(300, 3)).to(dtype)
    assert_nearest(nearest(z, codebook), z, codebook)


def test_float64_is_not_rounded_to_float32():
    away = 1e9 + normal(3).double()
    z, codebook = normal(100, 3).double() + away, normal(300, 3).double() + away
    assert_nearest(nearest(z, codebook), z, codebook)
    for scale in (1e-200, 1e200):
        z, codebook = scale * normal(50, 3).double(), scale * normal(300, 3).double()
        found = nearest(z, codebook)
        assert_nearest(found, z / scale, codebook / scale)


@pytest.mark.parametrize("dim", [1, 3, 64])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_codewords_that_are_not_finite_are_never_the_nearest(bad, dim):
    z, codebook = normal(100, dim), normal(700, dim)
    codebook[::5, 0] = bad
    index = nearest(z, codebook)
    assert (index % 5 != 0).all()
    assert_nearest(index, z, codebook.where(codebook.isfinite(), 1e9))
    assert (nearest(z, torch.full((7, dim), bad)) == -1).all()
    assert (nearest(z, torch.full((1, dim), bad)) == -1).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_vector_that_is_not_finite_has_no_nearest_codeword(bad, dtype):
    for k, dim in [(1, 3), (2, 1), (70, 8), (600, 64), (FEWEST // 64, 64)]:
        z, codebook = normal(60, dim).to(dtype), normal(k, dim).to(dtype)
        codebook[0] = codebook[0] if k == 1 else bad
        expected = nearest(z, codebook)
        z[13, 0] = bad
        z[17] = bad
        index = nearest(z.view(4, 15, dim), codebook).flatten()
        rest = [n for n in range(60) if n not in (13, 17)]
        assert index[[13, 17]].tolist() == [-1, -1] and torch.equal(index[rest], expected[rest])
        assert (index[rest] >= min(k - 1, 1)).all()


def test_a_vector_as_large_as_its_dtype_holds_is_finite():
    codebook = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 9.0]])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        z = torch.full((1, 2), torch.finfo(dtype).max, dtype=dtype)
        # So far away all are about equally near: it is one of them.
        assert nearest(z, codebook.to(dtype)).item() >= 0


@pytest.mark.parametrize("dim", [1, 8, 40])
def test_equal_codewords_are_told_by_the_lowest_index(dim):
    codebook = normal(50, dim)
    several = torch.cat([codebook, codebook.flip(0), codebook, 1e4 + codebook])
    z = torch.cat([codebook, codebook + 0.01 * normal(50, dim), torch.zeros(5, dim)])
    index = nearest(z, several)
    assert (index < 50).all()
    assert_nearest(index, z, several)
    assert torch.equal(index[:50], torch.arange(50))


def test_opposite_codewords_are_equally_near():
    codebook = normal(40, 6)
    both = torch.cat([codebook, -codebook])[torch.randperm(80)]
    distance = both.double().norm(dim=1)
    first = (distance <= distance.amin() * (1 + 1e-9)).nonzero()[0, 0]
    assert (nearest(torch.zeros(30, 6), both) == first).all()


def test_few_are_searched_twice(monkeypatch):
    searched = []
    monkeypatch.setattr(
        search, "exact_nearest", lambda z, e: searched.append(len(z)) or exact_nearest(z, e)
    )
    for n, k, dim in [(4000, 512, 64), (2000, 5000, 8)]:
        nearest(normal(n, dim), normal(k, dim))
        # Not because of a far one, nor where all lie together, nor where they are very small.
        nearest(*one_far(k, dim))
        nearest(1e4 + normal(n, dim), 1e4 + normal(k, dim))
        nearest(1e-20 * normal(n, dim), 1e-20 * normal(k, dim))
    assert sum(searched) < 0.01 * (3 * 4000 + 3 * 2000)


def test_a_collapsed_codebook_takes_no_longer_than_usual(monkeypatch):
    monkeypatch.setattr(search, "SMALL", 0)
    z, codebook = normal(5000, 64), normal(1, 64).repeat(1024, 1)
    assert (nearest(z, codebook) == 0).all()
    masked = torch.zeros(20_000, 64)
    sphere = torch.nn.functional.normalize(normal(1024, 64), dim=1)
    assert nearest(masked, sphere).unique().numel() == 1
