"""A first pass in bfloat16 leaves out no group that a search in float32 would have chosen."""

import pytest
import torch
from torch import Tensor

from smalti.quantizers import nearest, search
from smalti.quantizers.screening import FEWEST, SHORTEST, Screen
from smalti.quantizers.tiles import GROUP, TILE, in_tiles

pytestmark = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bfloat16 on this processor"
)


def exact(z: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    z, codebook = z.double(), codebook.double()
    return (z @ codebook.T - codebook.square().sum(1) / 2).max(1)


GENERATOR = torch.Generator().manual_seed(0)


def normal(n: int, dim: int = 32) -> Tensor:
    return torch.randn(n, dim, generator=GENERATOR)


PLANE, CODEWORDS = normal(6), normal(TILE + 70)
CASES = {
    "normal": (normal(300), CODEWORDS),
    "of little rank": (normal(300, 6) @ PLANE, normal(1000, 6) @ PLANE),
    "long vectors": (1000 * normal(300), CODEWORDS),
    "short vectors": (1e-6 * normal(300), CODEWORDS),
    "codewords themselves": (CODEWORDS, CODEWORDS),
}


def nothing(z: Tensor) -> Tensor:
    """No scores of other parts."""
    return torch.full(z.shape[:1], -torch.inf)


@pytest.mark.parametrize("case", CASES)
def test_it_finds_what_float64_finds(case):
    z, codebook = CASES[case]
    codebook = codebook - codebook.mean(0)
    found = Screen(list(in_tiles(codebook, 1000))).search(z, nothing(z))
    assert found is not None
    score, index = exact(z, codebook)
    torch.testing.assert_close(found[0].double(), score, rtol=1e-4, atol=1e-3 * score.std().item())
    assert torch.equal(found[1], index + 1000)


@pytest.mark.parametrize("case", CASES)
def test_most_groups_are_left_out_and_never_the_best(case):
    z, codebook = CASES[case]
    codebook = codebook - codebook.mean(0)
    near = Screen(list(in_tiles(codebook, 0)))._near(z, nothing(z))
    assert near.gather(1, exact(z, codebook)[1][:, None] // GROUP).all()
    assert near.sum() < near.numel() / 3


@pytest.mark.parametrize("case", CASES)
def test_what_another_part_beats_is_left_out_and_nothing_else(case):
    z, codebook = CASES[case]
    codebook = codebook - codebook.mean(0)
    score, index = exact(z, codebook)
    screen = Screen(list(in_tiles(codebook, 0)))
    # As far below the best, or above, as they differ from vector to vector.
    beaten = (score + score.std() * torch.randn(len(z), generator=GENERATOR)).float()
    found = screen.search(z, beaten)
    assert found is not None
    better = score > beaten
    assert 0.2 < better.double().mean() < 0.8
    assert torch.equal(found[1][better], index[better])
    assert (found[0] <= beaten)[~better].all()


def test_groups_that_another_part_beats_are_left_out():
    z, codebook = CASES["normal"]
    screen = Screen(list(in_tiles(codebook - codebook.mean(0), 0)))
    beaten = exact(z, codebook - codebook.mean(0))[0].float() + 1
    assert screen._near(z, beaten).sum() < 0.1 * screen._near(z, nothing(z)).sum()
    found = screen.search(z, beaten + 1e6)
    assert found is not None
    assert torch.equal(found[0], nothing(z))


def test_of_equals_the_first_is_chosen():
    codebook = torch.randn(GROUP, 16).repeat(10, 1)
    codebook -= codebook.mean(0)
    screen = Screen(list(in_tiles(codebook, 0)))
    screen._near = lambda z, _: torch.ones(len(z), 10, dtype=torch.bool)  # every group is near
    assert screen.search(codebook, nothing(codebook)) is None
    screen._near = lambda z, _: torch.arange(10).ge(7).expand(len(z), 10)
    found = screen.search(codebook, nothing(codebook))
    assert found is not None
    assert torch.equal(found[1], torch.arange(GROUP).repeat(10) + 7 * GROUP)


def test_codewords_that_hardly_differ_are_left_to_float32():
    codebook = torch.randn(1, 64) + 1e-3 * torch.randn(1000, 64)
    z = torch.randn(200, 64)
    assert Screen(list(in_tiles(codebook, 0))).search(z, nothing(z)) is None


def test_what_would_take_much_memory_is_left_to_float32(monkeypatch):
    z, codebook = CASES["normal"]
    screen = Screen(list(in_tiles(codebook - codebook.mean(0), 0)))
    assert screen.search(z, nothing(z)) is not None
    monkeypatch.setattr("smalti.quantizers.screening.MOST", len(z) * z.shape[1])
    assert screen.search(z, nothing(z)) is None


@pytest.mark.parametrize("bad", [torch.nan, -torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_row_of_no_numbers_gets_the_first_codeword_and_spoils_no_other(bad, parts, monkeypatch):
    monkeypatch.setattr(search, "can_screen", lambda codebook: True)
    dim = 32
    monkeypatch.setattr(search, "PREPARED", (4 - parts) * TILE * dim)
    z, codebook = torch.randn(100, dim), torch.randn(2 * TILE + 9, dim)
    expected = nearest(z, codebook)
    z[13, 2] = bad
    found = nearest(z, codebook)
    others = torch.arange(100) != 13
    assert found[13] == 0
    assert torch.equal(found[others], expected[others])


def test_nearest_screens_large_codebooks_of_long_vectors(monkeypatch):
    size = FEWEST // SHORTEST
    z, codebook = torch.randn(500, SHORTEST), torch.randn(size, SHORTEST)
    monkeypatch.setattr("smalti.quantizers.screening.fast_in_bfloat16", lambda: False)
    plain = nearest(z, codebook)
    screened = []
    monkeypatch.setattr("smalti.quantizers.screening.fast_in_bfloat16", lambda: True)
    monkeypatch.setattr(
        search, "Screen", lambda tiles: screened.append(len(tiles)) or Screen(tiles)
    )
    assert torch.equal(nearest(z, codebook), plain)
    assert screened == [size // TILE]
    nearest(z, codebook[1:])
    nearest(z[:, 1:], codebook.repeat(2, 1)[:, 1:])
    assert screened == [size // TILE]
