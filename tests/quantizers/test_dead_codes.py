"""Dead codewords come back to life, where the vectors are, and stay alive."""

import pytest
import torch

from smalti.errors import InputError
from smalti.quantizers import (
    NSVQ,
    DeadCodeReset,
    EMACodebook,
    GradientCodebook,
    ResidualQuantizer,
    StraightThrough,
    VectorQuantizer,
    codebook_usage,
)

BOTH = pytest.mark.parametrize("codebook", [GradientCodebook, EMACodebook])


def far_codebook(codebook, size: int = 64, dim: int = 4, **options) -> VectorQuantizer:
    """A quantizer with one codeword among the vectors and all others far away."""
    quantizer = VectorQuantizer(
        codebook(codebook_size=size, dim=dim), kmeans_iterations=0, **options
    )
    far = torch.full((size, dim), 1000.0)
    far[0] = 0
    quantizer.codebook.replace(torch.arange(size), far)
    return quantizer


def steps(quantizer: VectorQuantizer, n: int, size: int = 512) -> None:
    for _ in range(n):
        quantizer(torch.randn(size, quantizer.dim))
        quantizer.update()


@BOTH
@pytest.mark.parametrize("estimator", [StraightThrough, NSVQ])
def test_a_dead_codebook_recovers(codebook, estimator):
    quantizer = far_codebook(codebook, estimator=estimator())
    z = torch.randn(5000, 4)
    assert codebook_usage(quantizer.encode(z), 64)[0] == 1 / 64
    steps(quantizer, 150)
    used, perplexity = codebook_usage(quantizer.encode(z), 64)
    assert used == 1 and perplexity > 32


@BOTH
def test_without_resets_it_stays_dead(codebook):
    quantizer = far_codebook(codebook, dead_code_reset=None)
    steps(quantizer, 150)
    assert codebook_usage(quantizer.encode(torch.randn(5000, 4)), 64)[0] < 0.1


@BOTH
def test_a_large_codebook_comes_into_full_use_within_a_few_hundred_updates(codebook):
    quantizer = far_codebook(codebook, size=512)
    steps(quantizer, 300, size=1024)
    assert codebook_usage(quantizer.encode(torch.randn(20_000, 4)), 512)[0] > 0.98


@BOTH
def test_reset_codewords_survive_the_next_updates(codebook):
    reset = DeadCodeReset(threshold=0.5, every=5, decay=0.5, stop_after=5)
    quantizer = far_codebook(codebook, dead_code_reset=reset)
    steps(quantizer, 4)
    assert (quantizer.codebook.weight[1:] > 900).all()
    steps(quantizer, 1)
    moved_there = quantizer.codebook.weight.detach().clone()
    assert (moved_there.abs() < 6).all()
    assert torch.allclose(quantizer.shares[1:], torch.tensor(1 / 64))
    steps(quantizer, 20)
    moved = (quantizer.codebook.weight - moved_there).norm(dim=1)
    assert (moved < 1.5).all()


@BOTH
def test_reset_codewords_are_vectors_of_the_step_each_another(codebook):
    quantizer = far_codebook(
        codebook, dead_code_reset=DeadCodeReset(threshold=0.5, every=1, decay=0.01)
    )
    z = torch.randn(100, 4)
    quantizer(z[:60])
    quantizer(z[60:])
    quantizer.update()
    same = (quantizer.codebook.weight[1:, None] == z).all(-1)  # (K - 1, N)
    assert same.any(1).all() and same.sum(0).max() == 1


def test_masked_vectors_are_not_reset_onto():
    quantizer = far_codebook(
        GradientCodebook, dead_code_reset=DeadCodeReset(threshold=0.5, every=1, decay=0.01)
    )
    z = torch.randn(200, 4)
    quantizer(z, torch.arange(200) >= 100)
    quantizer.update()
    same = (quantizer.codebook.weight[1:, None] == z[100:]).all(-1)
    assert same.any(1).all()


def test_the_seed_decides_which_vectors_they_are():
    z = torch.randn(200, 4)
    results = []
    for seed in (1, 1, 2):
        reset = DeadCodeReset(threshold=0.5, every=1, decay=0.01)
        quantizer = far_codebook(GradientCodebook, dead_code_reset=reset)
        quantizer(z)
        torch.manual_seed(seed)
        quantizer.update()
        results.append(quantizer.codebook.weight)
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_with_fewer_vectors_than_dead_codewords_some_wait():
    quantizer = far_codebook(
        GradientCodebook, dead_code_reset=DeadCodeReset(threshold=0.5, every=1, decay=0.01)
    )
    z = torch.randn(10, 4)
    quantizer(z)
    quantizer.update()
    same = (quantizer.codebook.weight[:, None] == z).all(-1)
    assert same.sum() == 10 and same.any(0).all()


def test_vectors_that_overflow_are_not_reset_onto():
    quantizer = far_codebook(
        GradientCodebook, dead_code_reset=DeadCodeReset(threshold=0.5, every=1, decay=0.01)
    )
    z = torch.randn(63, 4)
    z[::2] = torch.nan
    quantizer(z)
    quantizer.update()
    assert quantizer.codebook.weight.isfinite().all()
    assert (quantizer.codebook.weight.abs() < 6).all(1).sum() == 1 + 31


@BOTH
@pytest.mark.parametrize(
    ("strategy", "least", "most"), [("vectors", 0, 0.5), ("codewords", 0.95, 1)]
)
def test_in_many_dimensions_only_split_codewords_live(codebook, strategy, least, most):
    quantizer = far_codebook(codebook, dim=64, dead_code_reset=DeadCodeReset(strategy=strategy))
    steps(quantizer, 200)
    used, _ = codebook_usage(quantizer.encode(torch.randn(5000, 64)), 64)
    assert least <= used <= most


@BOTH
def test_a_split_shares_what_the_codeword_had(codebook):
    reset = DeadCodeReset(threshold=0.5, every=1, decay=0.01, strategy="codewords")
    quantizer = far_codebook(codebook, dead_code_reset=reset)
    quantizer(torch.randn(500, 4))
    quantizer.update()
    weight = quantizer.codebook.weight.detach()
    near = (weight.norm(dim=1) < 1).nonzero()[:, 0]
    assert near[0] == 0 and len(near) == 2  # one codeword was in use, so one is split
    beside = near[1]
    assert quantizer.shares[0] == quantizer.shares[beside] and quantizer.shares[0] > 0.4
    assert 0 < (weight[beside] - weight[0]).norm() < 0.1


def test_where_nothing_is_in_use_nothing_is_split():
    quantizer = far_codebook(
        EMACodebook, dead_code_reset=DeadCodeReset(every=1, strategy="codewords")
    )
    quantizer.shares.zero_()
    before = quantizer.codebook.weight.clone()
    quantizer(torch.full((5, 4), torch.nan))
    quantizer.update()
    assert torch.equal(quantizer.codebook.weight[1:], before[1:])


def test_stop_after_ends_it():
    reset = DeadCodeReset(threshold=0.5, every=2, decay=0.5, stop_after=3)
    assert [update for update in range(1, 10) if reset.due(update)] == [2]
    assert [update for update in range(1, 10) if DeadCodeReset(every=3).due(update)] == [3, 6, 9]


def test_dead_is_relative_to_uniform_use():
    for size in (4, 4096):
        shares = torch.full((size,), 1 / size)
        shares[1], shares[3] = 0.05 / size, 0.01 / size
        assert DeadCodeReset(threshold=0.1).dead(shares).tolist() == [3, 1]
        assert DeadCodeReset(threshold=0.02).dead(shares).tolist() == [3]
        assert DeadCodeReset(threshold=0.0).dead(shares).tolist() == []


def clusters(size: int) -> torch.Tensor:
    """Centres of well-separated clusters."""
    return 20 * torch.randn(size, 8)


@BOTH
@pytest.mark.parametrize(
    ("size", "n", "steps"),
    [
        (100, 1, 2500),
        (1024, 50, 400),
        (512, 16, 800),
        (256, 85, 300),
        (64, 64, 300),
        (64, 640, 100),
        (16, 1600, 100),
    ],
)
def test_no_healthy_codeword_is_lost_whatever_the_vectors_of_a_step(codebook, size, n, steps):
    quantizer, centres = (
        VectorQuantizer(codebook(codebook_size=size, dim=8), kmeans_iterations=0),
        clusters(size),
    )
    quantizer.codebook.replace(torch.arange(size), centres)
    for _ in range(steps):
        cluster = torch.randint(size, (n,))
        quantizer(centres[cluster] + 0.03 * torch.randn(n, 8))
        quantizer.update()
    assert torch.equal(quantizer.encode(centres), torch.arange(size))
    assert (quantizer.codebook.weight - centres).square().mean() < 1e-3


@pytest.mark.parametrize("strategy", ["vectors", "codewords"])
def test_nor_in_a_stage_under_masks_and_accumulated(strategy):
    centres = clusters(64)
    stages = [
        VectorQuantizer(EMACodebook(codebook_size=64, dim=8), kmeans_iterations=0) for _ in range(2)
    ]
    for stage, places in zip(stages, (centres, clusters(64) / 200), strict=True):
        stage.dead_code_reset = DeadCodeReset(strategy=strategy)
        stage.codebook.replace(torch.arange(64), places)
    quantizer = ResidualQuantizer(stages)
    fine = stages[1].codebook.weight.clone()
    for _ in range(1000):
        for _ in range(2):
            z = centres[torch.randint(64, (4,))] + fine[torch.randint(64, (4,))]
            quantizer(z, torch.tensor([True, True, False, False]))
        quantizer.update()
    assert torch.equal(stages[0].encode(centres), torch.arange(64))
    assert torch.equal(stages[1].encode(fine), torch.arange(64))


@BOTH
@pytest.mark.parametrize(("size", "n"), [(256, 8), (256, 64), (64, 640)])
def test_dead_ones_are_back_after_so_many_vectors(codebook, size, n):
    # Those of a codebook that is nearly all dead, after 150 vectors per codeword, or 60 updates.
    quantizer = far_codebook(codebook, size=size)
    steps(quantizer, max(150 * size // n, 60), size=n)
    assert codebook_usage(quantizer.encode(torch.randn(20_000, 4)), size)[0] > 0.97


def test_the_memory_is_in_vectors_not_in_steps():
    # 32 vectors at a time leave as much as 8 at a time do after four times the steps.
    kept = []
    for n in (8, 32, 64, 6400):
        quantizer = VectorQuantizer(EMACodebook(codebook_size=64, dim=2), kmeans_iterations=0)
        for _ in range(max(64 * 10 // n, 10)):
            quantizer(quantizer.codebook.weight[:1].expand(n, 2))
            quantizer.update()
        kept.append(float(quantizer.shares[1:].sum()))
    expected = 63 / 64 * DeadCodeReset().decay ** 10
    assert kept == pytest.approx([expected] * 4, rel=1e-4)


@pytest.mark.parametrize("size", [64, 1024])
def test_rarely_used_codewords_of_a_small_batch_are_left_alone(size):
    # Fewer vectors in a step than codewords: each is missed often, and none is dead.
    quantizer = VectorQuantizer(GradientCodebook(codebook_size=size, dim=4), kmeans_iterations=0)
    quantizer.codebook.weight.data.normal_()
    before = quantizer.codebook.weight.detach().clone()
    for _ in range(100):
        vectors = before[torch.randint(size, (size // 2,))]
        quantizer(vectors)
        quantizer.update()
    changed = (quantizer.codebook.weight != before).any(1).float().mean()
    assert changed < 0.02


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 1.0},
        {"threshold": -0.1},
        {"every": 0},
        {"decay": 1.0},
        {"strategy": "codeword"},
    ],
)
def test_impossible_resets_are_told(options):
    with pytest.raises(InputError, match="DeadCodeReset takes .* got"):
        DeadCodeReset(**options)
