"""Codebooks that networks make of the reconstruction so far: what holds beside the common laws."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor

from smalti.artifacts import load_model, save_model
from smalti.errors import InputError
from smalti.quantizers import (
    Cosine,
    EMACodebook,
    FiniteScalarQuantizer,
    GradientCodebook,
    ImplicitResidualQuantizer,
    ResidualQuantizer,
    Stochastic,
    VectorQuantizer,
    implicit,
)
from smalti.quantizers.fitting import ResidualKMeans, TensorRows

DIM = 4


def vq(size: int = 16, codebook: type = GradientCodebook, **parts) -> VectorQuantizer:
    return VectorQuantizer(codebook(codebook_size=size, dim=DIM), **parts)


def vectors(n: int = 300, seed: int = 1) -> Tensor:
    return 2 * torch.randn(n, DIM, generator=torch.Generator().manual_seed(seed))


def fresh(*sizes: int, **options) -> ImplicitResidualQuantizer:
    """One whose base codewords shrink from stage to stage, and whose networks do nothing yet."""
    torch.manual_seed(0)
    quantizer = ImplicitResidualQuantizer([vq(size) for size in sizes], hidden=12, **options)
    for number, stage in enumerate(quantizer.stages):
        stage.codebook.initialize(0.7**number * torch.randn(stage.codebook_sizes[0], DIM))
    return quantizer.eval()


def bent(*sizes: int, **options) -> ImplicitResidualQuantizer:
    """One whose networks move codewords about."""
    quantizer = fresh(*sizes, **options)
    for network in quantizer.networks:
        for layer in network.out:
            torch.nn.init.normal_(layer.weight, std=0.2)
    return quantizer


@torch.no_grad()
def error(quantizer, z: Tensor) -> Tensor:
    return (quantizer.decode(quantizer.encode(z)) - z).square().sum(-1)


@pytest.mark.parametrize("beam", [1, 5])
@pytest.mark.parametrize("candidates", [1, 4, None])
def test_at_first_it_is_the_residual_quantizer_of_its_base_codebooks(beam, candidates):
    quantizer = fresh(8, 16, 12, beam=beam, candidates=candidates)
    plain = ResidualQuantizer(list(quantizer.stages), beam=beam).eval()
    z = vectors()
    assert torch.equal(quantizer.encode(z), plain.encode(z))
    torch.testing.assert_close(quantizer(z).quantized, plain(z).quantized)
    moved = bent(8, 16, 12, beam=beam, candidates=candidates)
    assert not torch.equal(moved.encode(z), plain.encode(z))


def test_greedy_search_over_all_candidates_takes_the_nearest_of_each_stage():
    quantizer, z = bent(8, 16, 12, candidates=None), vectors(100)
    codes = quantizer.encode(z)
    for q in (1, 2):
        every = torch.arange(quantizer.codebook_sizes[q])
        before = codes[:, None, :q].expand(-1, len(every), -1)
        made = quantizer.decode(torch.cat([before, every.expand(100, -1)[..., None]], 2))
        nearest = (made - z[:, None]).square().sum(-1).argmin(1)
        assert torch.equal(nearest, codes[:, q])


def test_a_beam_of_all_sums_is_exhaustive():
    quantizer, z = bent(3, 5, 4, beam=15, candidates=None), vectors()
    every = torch.tensor(list(itertools.product(range(3), range(5), range(4))))
    best = torch.cdist(z, quantizer.decode(every)).amin(1).square()
    torch.testing.assert_close(error(quantizer, z), best, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("what", ["beam", "candidates"])
def test_the_error_falls_as_the_search_widens(what):
    quantizer, z = bent(16, 16, 16, candidates=2), vectors(1000)
    found = []
    for width in (1, 4, 16):
        setattr(quantizer, what, width)
        found.append(error(quantizer, z).mean())
    assert found[2] < found[1] < 0.97 * found[0]


def test_blocks_of_vectors_change_nothing(monkeypatch):
    quantizer, z = bent(8, 16, 12, beam=3, candidates=5), vectors()
    wanted = quantizer.encode(z)
    monkeypatch.setattr(implicit, "HIDDEN", 2**10)
    assert torch.equal(quantizer.encode(z), wanted)


def test_prefixes_decode_and_minus_one_contributes_nothing():
    quantizer, z = bent(8, 16, 12), vectors()
    codes = quantizer.encode(z)
    assert not quantizer.decode(codes[:, :0]).any()
    assert quantizer.decode(codes[:, :0]).shape == z.shape
    errors = [(quantizer.decode(codes[:, :q]) - z).square().mean() for q in range(4)]
    assert errors[3] < errors[2] < errors[1] < errors[0]
    without = codes.clone()
    without[:, 2] = -1
    assert torch.equal(quantizer.decode(without), quantizer.decode(codes[:, :2]))
    # The networks see sums of the stages before, so a code means another vector after another.
    other = codes.clone()
    other[:, 0] = (codes[:, 0] + 1) % 8
    steps = [quantizer.decode(c) - quantizer.decode(c[:, :1]) for c in (codes, other)]
    assert not torch.allclose(*steps)


def test_far_from_the_origin_it_finds_the_same():
    quantizer, z = fresh(16, 16, 16, beam=4), vectors()
    wanted = error(quantizer, z)
    with torch.no_grad():
        quantizer.stages[0].codebook.weight += 4096
    torch.testing.assert_close(error(quantizer, z + 4096), wanted, rtol=0.02, atol=0.02)


def test_training_searches_with_a_beam_of_its_own():
    quantizer, z = bent(8, 16, 12, training_beam=6), vectors()
    greedy, searched = quantizer(z), quantizer.train()(z)
    assert torch.equal(greedy.indices, quantizer.encode(z))
    assert searched.losses["codebook"] < greedy.losses["codebook"]


def test_losses_weigh_the_errors_of_the_sums():
    quantizer, z = bent(8, 16, 12, prefix_weight=0.25), vectors()
    codes, losses = quantizer.encode(z), quantizer(z).losses
    e = [(quantizer.decode(codes[:, :q]) - z).square().mean() for q in (1, 2, 3)]
    wanted = (0.25 * e[0] + 0.25 * e[1] + e[2]) / 1.5
    torch.testing.assert_close(losses["codebook"], wanted)
    torch.testing.assert_close(losses["commitment"], wanted)


@pytest.mark.parametrize("codebook", [GradientCodebook, EMACodebook])
def test_networks_learn_what_fixed_codebooks_cannot(codebook):
    """Errors of the first stage point along its codeword: another codebook in each place."""

    def draw(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        angle = torch.randint(16, (500, 1), generator=generator) * torch.pi / 8
        direction = torch.cat([angle.cos(), angle.sin()], 1)
        return (4 + torch.randn(500, 1, generator=generator)) * direction

    def learned(quantizer) -> float:
        torch.manual_seed(0)
        unused = torch.zeros(1, requires_grad=True)  # for codebooks that learn without gradients
        optimizer = torch.optim.Adam([*quantizer.parameters(), unused], lr=0.02)
        quantizer.attach(optimizer)
        for step in range(200):
            losses = quantizer.train()(draw(step)).losses
            optimizer.zero_grad()
            (unused.sum() + sum(losses.values())).backward()
            optimizer.step()
        z = draw(1000)
        quantizer.eval()
        return float(error(quantizer, z).mean())

    def stages() -> list[VectorQuantizer]:
        torch.manual_seed(0)
        return [VectorQuantizer(codebook(codebook_size=size, dim=2)) for size in (16, 4)]

    plain = learned(ResidualQuantizer(stages()))
    implicit_codebooks = learned(ImplicitResidualQuantizer(stages(), hidden=32))
    assert implicit_codebooks < 0.8 * plain


def test_residual_kmeans_fits_its_base_codebooks():
    quantizer, x = fresh(8, 16, 12, beam=4), vectors(2000)
    plain = ResidualQuantizer([vq(size) for size in (8, 16, 12)], beam=4).eval()
    for one in (quantizer, plain):
        ResidualKMeans(5, refine=0).fit(one, TensorRows(x), seed=0)
    assert torch.equal(quantizer.encode(x), plain.encode(x))
    before = error(quantizer, x).mean()
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.003)
    for _ in range(100):  # starts from what was fitted
        loss = quantizer.train()(x).losses["codebook"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        quantizer.update()
    assert error(quantizer.eval(), x).mean() < 0.9 * before


def test_a_beam_is_set_after_loading_and_saved(tmp_path):
    quantizer, z = bent(8, 16, 12), vectors()
    save_model(quantizer, tmp_path / "greedy")
    loaded = load_model(tmp_path / "greedy")
    assert loaded.beam == 1 and torch.equal(loaded.encode(z), quantizer.encode(z))
    loaded.beam = quantizer.beam = 6
    save_model(loaded, tmp_path / "wide")
    again = load_model(tmp_path / "wide")
    assert again.beam == 6 and torch.equal(again.encode(z), quantizer.encode(z))
    assert "beam=6" in repr(copy.deepcopy(again))


def test_mistakes_are_refused_in_one_line():
    for stage in (
        vq(geometry=Cosine()),
        vq(assignment=Stochastic(0.5)),
        FiniteScalarQuantizer([5] * DIM),
    ):
        with pytest.raises(InputError, match="smallest Euclidean distance, got") as told:
            ImplicitResidualQuantizer([stage, vq()])
        assert "\n" not in str(told.value)
    for wrong in ({"beam": 0}, {"training_beam": 1.5}, {"candidates": 0}, {"hidden": "8"}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))} .*got"):
            ImplicitResidualQuantizer([vq(), vq()], **wrong)
    with pytest.raises(InputError, match="prefix_weight must be 0 or more, got -1"):
        ImplicitResidualQuantizer([vq(), vq()], prefix_weight=-1)
