"""Products that are fitted: PQ against k-means of each block, OPQ against PQ and its theory."""

import pytest
import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.quantizers import (
    Cosine,
    EMACodebook,
    FiniteScalarQuantizer,
    ProductQuantizer,
    Quantizer,
    RotatedQuantizer,
    VectorQuantizer,
)
from smalti.quantizers.fitting import OptimizedProduct, ProductKMeans, TensorRows
from smalti.quantizers.fitting.lloyd import chunked_kmeans
from smalti.quantizers.fitting.parts import generator_of
from smalti.quantizers.fitting.product_kmeans import DimensionRange


def vq(size: int, dim: int, **parts) -> VectorQuantizer:
    return VectorQuantizer(EMACodebook(codebook_size=size, dim=dim), **parts)


def product(*parts: tuple[int, int]) -> ProductQuantizer:
    return ProductQuantizer([vq(size, dim) for size, dim in parts])


def orthogonal(dim: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(dim, dim, generator=draw)).Q


def correlated(n: int = 2000, dim: int = 8, seed: int = 0) -> Tensor:
    """Gaussian vectors of unequal principal variances, away from 0."""
    draw = torch.Generator().manual_seed(seed)
    return 5 + torch.randn(n, dim, generator=draw) * 0.7 ** torch.arange(dim) @ orthogonal(dim)


def error(quantizer: Quantizer, x: Tensor) -> float:
    return (quantizer.eval().decode(quantizer.encode(x)) - x).square().sum(1).mean().item()


def fitted(fitting, quantizer, x):
    fitting.fit(quantizer, TensorRows(x), seed=0)
    return quantizer


def test_each_part_is_kmeans_of_its_block():
    x, quantizer = correlated(), product((8, 3), (16, 5))
    fitted(ProductKMeans(6), quantizer, x)
    for number, (part, span) in enumerate(
        zip(quantizer.parts, (slice(3), slice(3, 8)), strict=True)
    ):
        block, index = x[:, span].contiguous(), quantizer.encode(x)[:, number]
        # It is that of the block alone, which knows nothing of the others.
        rows, draw = TensorRows(block), generator_of(0, number)
        whole = DimensionRange(rows, slice(0, part.dim), torch.device("cpu"))
        size = part.codebook.codebook_size
        alone = chunked_kmeans(whole, size, 6, draw, compare_starts=True)
        assert torch.equal(part.codewords(), alone)
        # Each codeword is nearly the mean of what is nearest to it.
        means = torch.stack([block[index == k].mean(0) for k in range(size)])
        torch.testing.assert_close(part.codewords(), means, atol=0.15, rtol=0)


def test_clumps_are_found_though_starts_may_be_random():
    draw = torch.Generator().manual_seed(0)
    x = 9 * torch.randn(24, 4, generator=draw).repeat(100, 1)
    x = x + 0.1 * torch.randn(2400, 4, generator=draw)
    for seed in range(3):
        quantizer = product((24, 2), (24, 2))
        ProductKMeans(5).fit(quantizer, TensorRows(x), seed=seed)
        assert error(quantizer, x) < 1  # random starts alone leave 2 and more


def test_random_starts_are_taken_where_they_serve_unseen_rows_better():
    draw = torch.Generator().manual_seed(0)
    x, unseen = (
        torch.randn(3000, 4, generator=draw) / torch.rand(3000, 1, generator=draw) ** 0.2
        for _ in range(2)
    )
    sample, taken = DimensionRange(TensorRows(x), slice(0, 4), torch.device("cpu")), []
    for compares in (False, True):
        of_seeds = [
            chunked_kmeans(sample, 100, 5, generator_of(seed, 0), compare_starts=compares)
            for seed in range(3)
        ]
        taken.append(sum(torch.cdist(unseen, c).amin(1).square().mean().item() for c in of_seeds))
    assert taken[1] < 0.99 * taken[0]


@pytest.mark.parametrize("parts", [[(16, 4), (16, 4)], [(32, 3), (8, 5)], [(16, 2)] * 4])
def test_a_rotation_loses_less_of_correlated_vectors(parts):
    x, other = correlated(), correlated(seed=1)
    plain = fitted(ProductKMeans(), product(*parts), x)
    turned = fitted(OptimizedProduct(), RotatedQuantizer(product(*parts)), x)
    assert error(turned, x) < 0.95 * error(plain, x)
    assert error(turned, other) < 0.95 * error(plain, other)


def test_no_pass_raises_the_error_and_each_leaves_a_rotation():
    x, quantizer, errors = correlated(), RotatedQuantizer(product((16, 4), (16, 4))), []

    def done(stage: int) -> None:
        errors.append(error(quantizer, x))
        r = quantizer.rotation.double()
        torch.testing.assert_close(r @ r.T, torch.eye(8, dtype=r.dtype), atol=1e-5, rtol=0)

    OptimizedProduct(15).fit(quantizer, TensorRows(x), seed=0, done=done)
    assert len(errors) == 16
    assert all(
        after < before * (1 + 1e-6) for before, after in zip(errors, errors[1:], strict=False)
    )
    assert errors[-1] < errors[0]


def test_it_starts_from_principal_axes_dealt_to_parts_of_equal_products(monkeypatch):
    monkeypatch.setattr("smalti.quantizers.fitting.optimized_product.WARMING", 0)
    draw, axes = torch.Generator().manual_seed(0), orthogonal(4)
    x = torch.randn(20_000, 4, generator=draw) * torch.tensor([8.0, 4.0, 2.0, 1.0]).sqrt() @ axes
    quantizer = fitted(OptimizedProduct(0), RotatedQuantizer(product((4, 2), (4, 2))), x)
    turned = (x @ quantizer.rotation.T).T.cov()
    torch.testing.assert_close(turned, turned.diag().diag(), atol=1e-3, rtol=0)
    variances = turned.diag().tolist()
    assert sorted(variances[:2], reverse=True) == pytest.approx([8, 1], rel=0.05)
    assert sorted(variances[2:], reverse=True) == pytest.approx([4, 2], rel=0.05)
    # The part with more codewords gets the axes with more variance.
    quantizer = fitted(OptimizedProduct(0), RotatedQuantizer(product((4, 2), (64, 2))), x)
    variances = (x @ quantizer.rotation.T).var(0)
    assert variances[:2].prod() < variances[2:].prod()


def test_it_finds_the_parts_that_vectors_are_made_of():
    """Two independent numbers with 4 values each, mixed: 2 × 4 codewords hold them all."""
    draw = torch.Generator().manual_seed(0)
    values = torch.tensor([-3.0, -1.0, 1.0, 3.0])
    x = values[torch.randint(4, (500, 2), generator=draw)] * torch.tensor([1.0, 0.5])
    x = x @ torch.tensor([[0.8, 0.6], [-0.6, 0.8]]) + 2
    assert error(fitted(ProductKMeans(), product((4, 1), (4, 1)), x), x) > 0.3
    found = fitted(OptimizedProduct(), RotatedQuantizer(product((4, 1), (4, 1))), x)
    assert error(found, x) < 1e-6


def test_vectors_with_few_directions_or_copies_do_no_harm():
    x = correlated(300)
    for odd in (x[:, :2] @ torch.randn(2, 8), x[:5].repeat(60, 1), torch.ones(300, 8)):
        quantizer = fitted(OptimizedProduct(3), RotatedQuantizer(product((16, 4), (16, 4))), odd)
        r = quantizer.rotation
        torch.testing.assert_close(r @ r.T, torch.eye(8), atol=1e-5, rtol=0)
        spread = (odd - odd.mean(0)).square().sum(1).mean()
        assert error(quantizer, odd) <= max(0.2 * spread, 1e-6)


def test_what_they_cannot_fit_is_one_line():
    shared = vq(4, 2)
    fsq = FiniteScalarQuantizer([5, 5])
    rows = TensorRows(torch.randn(50, 4))
    turned = RotatedQuantizer(product((4, 2), (4, 2)))
    for fitting, quantizer, what in (
        (ProductKMeans(), shared, "got a VectorQuantizer: choose one"),
        (ProductKMeans(), turned, "got a RotatedQuantizer: choose one"),
        (ProductKMeans(), ProductQuantizer([shared, shared]), "whose parts share one"),
        (ProductKMeans(), ProductQuantizer([shared, fsq]), "got a FiniteScalarQuantizer"),
        (ProductKMeans(), ProductQuantizer([vq(4, 4, geometry=Cosine())]), "with Cosine geometry"),
        (ProductKMeans(), product((64, 2), (4, 2)), "each of 64 codewords, got 50"),
        (ProductKMeans(), product((4, 2), (4, 3)), "vectors of 5 dimensions, got rows of 4"),
        (OptimizedProduct(), turned.inner, r"got a ProductQuantizer: put RotatedQuantizer\(…\)"),
        (OptimizedProduct(), RotatedQuantizer(shared), "RotatedQuantizer of a VectorQuantizer"),
        (
            OptimizedProduct(),
            RotatedQuantizer(ProductQuantizer([shared, shared])),
            "whose parts share one",
        ),
        (OptimizedProduct(), RotatedQuantizer(product((4, 2), (64, 2))), "64 codewords, got 50"),
    ):
        with pytest.raises(InputError, match=what) as told:
            fitting.fit(quantizer, rows, seed=0)
        assert "\n" not in str(told.value)
    for fitting in (ProductKMeans, OptimizedProduct):
        with pytest.raises(InputError, match="iterations must be 0 or more, got -1"):
            fitting(-1)


def test_only_orthogonal_matrices_are_rotations():
    quantizer = RotatedQuantizer(vq(4, 3))
    for wrong, what in (
        (2 * torch.eye(3), "differs by 3"),
        (torch.eye(2), r"got the shape \(2, 2\)"),
        (torch.full((3, 3), torch.nan), "differs by nan"),
    ):
        with pytest.raises(InputError, match=what) as told:
            quantizer.rotate_by(wrong)
        assert "\n" not in str(told.value)
    assert torch.equal(quantizer.rotation, torch.eye(3))


def test_a_rotation_changes_no_distance():
    inner, x = vq(32, 6), torch.randn(200, 6)
    quantizer = RotatedQuantizer(inner).eval()
    quantizer.rotate_by(orthogonal(6))
    codewords = quantizer.euclidean_codewords()
    index = quantizer.encode(x)
    assert torch.equal(index, torch.cdist(x, codewords).argmin(1))
    torch.testing.assert_close(quantizer.decode(index), codewords[index])
    torch.testing.assert_close(quantizer.quantize_as(x, index).quantized, codewords[index])
    loss = quantizer(x).losses["commitment"]
    torch.testing.assert_close(loss, (x - codewords[index]).square().mean())
