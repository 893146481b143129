"""Codebooks of a sum that are refined together after residual k-means."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.quantizers import EMACodebook, ResidualQuantizer, VectorQuantizer
from smalti.quantizers.fitting import ResidualKMeans, TensorRows
from smalti.quantizers.fitting.refinement import Refinement

DIM = 12


def quantizer(*sizes: int, beam: int = 1) -> ResidualQuantizer:
    stages = [VectorQuantizer(EMACodebook(codebook_size=size, dim=DIM)) for size in sizes]
    return ResidualQuantizer(stages, beam=beam).eval()


def cloud(n: int, seed: int = 0) -> Tensor:
    """Draws from one Gaussian, of more spread in some dimensions than in others."""
    x = torch.randn(n, DIM, generator=torch.Generator().manual_seed(seed))
    return x * torch.linspace(1.5, 0.2, DIM)


def vectors(n: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    """Draws from a mixture of 60 Gaussians of different weights."""
    draw = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(60, DIM, generator=torch.Generator().manual_seed(9))
    which = (60 * torch.rand(n, generator=draw) ** 2).long()
    return centres[which] + spread * torch.randn(n, DIM, generator=draw)


def fitted(x: Tensor, sizes=(32, 32, 32), final: int = 1, **settings) -> ResidualQuantizer:
    made = quantizer(*sizes, beam=final)
    ResidualKMeans(10, **settings).fit(made, TensorRows(x), seed=0)
    return made


def error(made: ResidualQuantizer, x: Tensor) -> float:
    return (made.decode(made.encode(x)) - x).square().sum(1).mean().item()


@pytest.mark.parametrize(("rounds", "search"), [(1, 1), (12, 3)])
@pytest.mark.parametrize("final", [1, 4])
@pytest.mark.parametrize("n", [40, 3000])
def test_without_mixing_it_never_raises_the_error_of_the_rows(n, final, rounds, search):
    x = vectors(n)
    plain = fitted(x, final=final, refine=0)
    made = fitted(x, final=final, refine=rounds, mixing=0.0, beam=search)
    assert error(made, x) <= error(plain, x) * (1 + 1e-6)


@pytest.mark.parametrize("n", [500, 3000])
@pytest.mark.parametrize("final", [1, 5])
def test_other_rows_of_one_cloud_are_served_better_by_far_few_or_many(n, final):
    x, other = cloud(n), cloud(5000, seed=1)
    plain, made = (fitted(x, final=final, refine=refine) for refine in (0, None))
    assert error(made, other) < 0.985 * error(plain, other)
    codes = made.encode(x)
    assert all(codes[:, stage].unique().numel() == 32 for stage in range(3))


@pytest.mark.parametrize("n", [500, 3000])
@pytest.mark.parametrize("spread", [0.05, 0.5])
def test_rows_in_clumps_are_not_mixed_up(n, spread):
    x, other = vectors(n, 0, spread), vectors(5000, 1, spread)
    plain, made = (fitted(x, refine=refine) for refine in (0, None))
    assert error(made, other) < 1.03 * error(plain, other)
    assert error(made, x) <= error(plain, x) * (1 + 1e-6)


def test_stages_of_unequal_sizes_are_refined_together():
    x, other = cloud(4000), cloud(4000, seed=1)
    sizes = (16, 32, 64)
    plain, made = (fitted(x, sizes, refine=refine) for refine in (0, 20))
    assert error(made, other) < 0.985 * error(plain, other)
    assert [stage.codebook.codebook_size for stage in made.stages] == [*sizes]
    codes = made.encode(x)
    assert [codes[:, q].unique().numel() for q in range(3)] == [*sizes]


def test_codewords_that_nobody_uses_are_put_where_rows_need_them():
    x = vectors(3000)
    for beam in (1, 4):
        made = fitted(x, final=beam, refine=0)
        books = [stage.codewords().detach().clone() for stage in made.stages]
        for book in books:
            book[3:9] = 1e3
        refinement = Refinement(TensorRows(x), 0, beam, 0.1, beam, 0)
        for stage, book in zip(made.stages, refinement(books, lambda *_: None), strict=True):
            stage.codebook.initialize(book)
        codes = made.encode(x)
        assert all(codes[:, stage].unique().numel() == 32 for stage in range(3))


def test_one_stage_alone_is_left_as_it_is():
    x, books = vectors(500), []
    for refine in (0, 10):
        made = quantizer(16)
        fitting = ResidualKMeans(5, refine=refine)
        fitting.fit(made, TensorRows(x), seed=0)
        books.append(made.stages[0].codewords())
        assert fitting.stages(made) == 1
    assert torch.equal(*books)


def test_too_many_codewords_are_not_refined_unless_asked_which_is_one_line():
    stages = [VectorQuantizer(EMACodebook(codebook_size=4097, dim=2)) for _ in range(2)]
    large = ResidualQuantizer(stages)
    assert ResidualKMeans().stages(large) == 2
    with pytest.raises(InputError, match="refines at most 4096 codewords together, got 8194"):
        ResidualKMeans(refine=1).check(large)
    assert ResidualKMeans().stages(quantizer(4, 4)) == 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"refine": -1}, "refine must be 0 or more, got -1"),
        ({"beam": 0}, "beam is a whole number above 0, got 0"),
        ({"mixing": 1.0}, "mixing is at least 0 and below 1, got 1.0"),
        ({"mixing": float("nan")}, "mixing is at least 0"),
    ],
)
def test_settings_out_of_range_are_one_line(settings, words):
    with pytest.raises(InputError, match=words) as told:
        ResidualKMeans(**settings)
    assert "\n" not in str(told.value)
