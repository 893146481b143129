"""The two passes find what float64 finds, or say that they are not sure.

A first pass in bfloat16 leaves out no group that may hold the nearest codeword.
"""

import pytest
import torch
from torch import Tensor

from smalti.processors import fused_linear
from smalti.quantizers import nearest, search
from smalti.quantizers.screening import FEWEST, CodebookPart
from smalti.quantizers.tiles import GROUP, TILE, split_in_tiles

pytestmark = pytest.mark.skipif(
    fused_linear(torch.bfloat16) is None, reason="no product in bfloat16 here"
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


def errors(z: Tensor, codebook: Tensor) -> Tensor:
    """How far scores in float32 may be from the truth."""
    longest = codebook.norm(dim=1).amax()
    return (z.shape[1] + 8) * 2.0**-24 * (z.norm(dim=1) + longest) * longest


def part_of(
    codebook: Tensor, start: int = 0, coarse: bool = True, size: int = TILE
) -> CodebookPart:
    return CodebookPart(list(split_in_tiles(codebook, start, size)), coarse)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("coarse", "size"), [(True, TILE), (False, TILE), (False, 1024)])
def test_it_finds_what_float64_finds(case, coarse, size):
    z, codebook = CASES[case]
    codebook = codebook - codebook.mean(0)
    part = part_of(codebook, 1000, coarse, size)
    found, where, sure = part.search(z, errors(z, codebook), nothing(z))
    assert (part.screen is not None) == coarse
    score, index = exact(z, codebook)
    torch.testing.assert_close(found.double(), score, rtol=1e-4, atol=1e-3 * score.std().item())
    assert torch.equal(where[sure], index[sure] + 1000)
    assert sure.double().mean() > 0.95


@pytest.mark.parametrize("case", CASES)
def test_most_groups_are_left_out_and_never_the_best(case):
    z, codebook = CASES[case]
    codebook = codebook - codebook.mean(0)
    near = part_of(codebook).screen.near(z, nothing(z))
    assert near.gather(1, exact(z, codebook)[1][:, None] // GROUP).all()
    assert near.sum() < near.numel() / 3


# Scores of short vectors differ by no more than float32 rounds.
@pytest.mark.parametrize("case", [case for case in CASES if case != "short vectors"])
@pytest.mark.parametrize("coarse", [True, False])
def test_what_another_part_beats_is_left_out_and_nothing_else(case, coarse):
    z, codebook = CASES[case]
    codebook = codebook - codebook.mean(0)
    score, index = exact(z, codebook)
    # As far below the best, or above, as they differ from vector to vector.
    beaten = (score + score.std() * torch.randn(len(z), generator=GENERATOR)).float()
    error = errors(z, codebook)
    found, where, sure = part_of(codebook, coarse=coarse).search(z, error, beaten)
    better = score > beaten + 2 * error
    assert 0.2 < better.double().mean() < 0.8
    assert torch.equal(where[better & sure], index[better & sure])
    assert sure[better].double().mean() > 0.9
    assert (found <= beaten + error)[score < beaten].all()


def test_groups_that_another_part_beats_are_left_out():
    z, codebook = CASES["normal"]
    part = part_of(codebook - codebook.mean(0))
    beaten = exact(z, codebook - codebook.mean(0))[0].float() + 1
    assert part.screen.near(z, beaten).sum() < 0.1 * part.screen.near(z, nothing(z)).sum()
    found, _, sure = part.search(z, errors(z, codebook), beaten + 1e6)
    assert torch.equal(found, nothing(z)) and not sure.any()


@pytest.mark.parametrize("coarse", [True, False])
def test_of_equals_none_is_sure(coarse):
    codebook = torch.randn(GROUP, 16, generator=GENERATOR).repeat(10, 1)
    codebook -= codebook.mean(0)
    z = codebook[:GROUP]
    assert not part_of(codebook, coarse=coarse).search(z, errors(z, codebook), nothing(z))[2].any()


def test_codewords_that_hardly_differ_are_left_to_float32():
    codebook = torch.randn(1, 64) + 1e-3 * torch.randn(1000, 64)
    z, part = torch.randn(200, 64), part_of(codebook)
    part.search(z, errors(z, codebook), nothing(z))
    assert part.screen is None


def test_what_would_take_much_memory_is_left_to_float32(monkeypatch):
    z, codebook = CASES["normal"]
    part = part_of(codebook - codebook.mean(0))
    part.search(z, errors(z, codebook), nothing(z))
    assert part.screen is not None
    monkeypatch.setattr("smalti.quantizers.screening.MOST", len(z) * z.shape[1])
    part.search(z, errors(z, codebook), nothing(z))
    assert part.screen is None


@pytest.mark.parametrize("bad", [torch.nan, -torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_row_of_no_numbers_has_no_codeword_and_spoils_no_other(bad, parts, monkeypatch):
    monkeypatch.setattr(search, "can_screen", lambda codebook: True)
    dim = 32
    monkeypatch.setattr(search, "PREPARED", (4 - parts) * TILE * dim)
    z, codebook = torch.randn(100, dim), torch.randn(2 * TILE + 9, dim)
    expected = nearest(z, codebook)
    z[13, 2] = bad
    found = nearest(z, codebook)
    others = torch.arange(100) != 13
    assert found[13] == -1 and search.nearest_or_zero(z, codebook)[13] == 0
    assert torch.equal(found[others], expected[others])


@pytest.mark.parametrize("dim", [8, 24, 64])
def test_nearest_screens_large_codebooks(dim, monkeypatch):
    size = -(-FEWEST // dim)
    z = torch.randn(500, dim, generator=GENERATOR)
    codebook = torch.randn(size, dim, generator=GENERATOR)
    monkeypatch.setattr(search, "native_nearest", lambda *_: None)  # which comes before it
    monkeypatch.setattr("smalti.quantizers.screening.fast_in_bfloat16", lambda: False)
    plain = nearest(z, codebook)
    screened = []
    monkeypatch.setattr("smalti.quantizers.screening.fast_in_bfloat16", lambda: True)
    monkeypatch.setattr(
        search,
        "CodebookPart",
        lambda tiles, coarse: screened.append(coarse) or CodebookPart(tiles, coarse),
    )
    assert torch.equal(nearest(z, codebook), plain)
    assert screened == [True]
    nearest(z, codebook[1:])
    assert screened == [True, False]
