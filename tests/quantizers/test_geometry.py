"""Geometries, assignments and regularisers of vector quantization, each against its definition."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from smalti.errors import InputError
from smalti.quantizers import (
    Cosine,
    EMACodebook,
    Entropy,
    GradientCodebook,
    Nearest,
    Orthogonality,
    Spherical,
    Stochastic,
    TransformedCodebook,
    VectorQuantizer,
)


def trained(codebook, **options) -> VectorQuantizer:
    quantizer = VectorQuantizer(codebook, **options)
    for _ in range(5):
        quantizer(2 + torch.randn(300, 4))
        quantizer.update()
    return quantizer.eval()


@pytest.mark.parametrize("codebook", [EMACodebook, GradientCodebook])
@pytest.mark.parametrize("geometry", [Cosine, Spherical])
def test_the_nearest_is_that_of_the_largest_cosine(codebook, geometry):
    quantizer = trained(codebook(codebook_size=16, dim=4), geometry=geometry())
    z = torch.randn(200, 4)
    cosine = F.normalize(z, dim=1) @ F.normalize(quantizer.codebook.weight, dim=1).T
    assert torch.equal(quantizer.encode(z), cosine.argmax(1))
    assert torch.equal(quantizer.encode(100 * z), quantizer.encode(z))
    output = quantizer(z).quantized
    if geometry is Spherical:
        torch.testing.assert_close(output.norm(dim=1), torch.ones(200))
    else:
        torch.testing.assert_close(output, quantizer.codebook.weight[cosine.argmax(1)])


def test_on_the_sphere_the_commitment_is_twice_one_minus_the_cosine():
    quantizer = trained(EMACodebook(codebook_size=16, dim=4), geometry=Spherical())
    z = torch.randn(200, 4)
    cosine = torch.cosine_similarity(z, quantizer(z).quantized, dim=1)
    masked = quantizer(z, torch.ones(200, dtype=torch.bool)).losses["commitment"]
    torch.testing.assert_close(masked, (2 - 2 * cosine).mean() / 4)
    torch.testing.assert_close(masked, quantizer(z).losses["commitment"])


def test_the_cosine_start_has_the_length_of_the_vectors():
    quantizer = VectorQuantizer(EMACodebook(codebook_size=8, dim=4), geometry=Cosine())
    quantizer(50 * F.normalize(torch.randn(500, 4), dim=1))
    quantizer.update()
    torch.testing.assert_close(quantizer.codebook.weight.norm(dim=1), torch.full((8,), 50.0))


def test_stochastic_draws_with_the_probabilities_stated():
    codebook, z = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.4]])
    expected = torch.softmax(-((z - codebook.T) ** 2)[0] / 0.7, 0)
    drawn = Stochastic(0.7)(z.expand(60_000, 1), codebook)
    shares = torch.bincount(drawn, minlength=3) / len(drawn)
    torch.testing.assert_close(shares, expected, atol=0.01, rtol=0)


def test_stochastic_becomes_the_nearest():
    codebook, z = torch.randn(50, 4), torch.randn(3, 100, 4)
    assert torch.equal(Stochastic(1e-9)(z, codebook), Nearest()(z, codebook))


def test_orthogonality_is_the_mean_squared_cosine_of_pairs():
    for size, dim in ((9, 4), (4, 9)):
        codebook = torch.randn(size, dim)
        cosine = torch.cosine_similarity(codebook[:, None], codebook[None], dim=2)
        pairs = cosine.square().sum() - size
        loss = Orthogonality()(torch.zeros(1, dim), codebook, None)
        torch.testing.assert_close(loss, pairs / size**2)
    assert Orthogonality()(torch.zeros(1, 4), torch.eye(4), None) == 0
    assert Orthogonality(sample=2)(torch.zeros(1, 4), torch.ones(9, 4), None) == 0.5


def test_entropy_is_that_of_the_soft_assignments():
    z, codebook = torch.randn(30, 4), torch.randn(7, 4)
    p = torch.softmax(-torch.cdist(z, codebook).square() / 0.3, 1)
    mean = p.mean(0)
    expected = -(p * p.log()).sum(1).mean() + 2 * (mean * mean.log()).sum()
    loss = Entropy(0.3, diversity=2)(z, codebook, None)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-4)
    mask = torch.arange(30) < 20
    torch.testing.assert_close(
        Entropy(0.3)(z, codebook, mask), Entropy(0.3)(z[:20], codebook, None)
    )


def test_a_transformed_codebook_moves_as_a_whole():
    codebook = TransformedCodebook(codebook_size=16, dim=4)
    before = codebook.weight.detach().clone()
    codebook.weight[3].sum().backward()  # a gradient that one codeword got
    with torch.no_grad():
        codebook.map -= 0.1 * codebook.map.grad
    assert (codebook.weight != before).any(1).all()


def test_a_transformed_codebook_takes_other_words():
    codebook = TransformedCodebook(codebook_size=16, dim=4)
    torch.nn.init.normal_(codebook.map)
    before, words = codebook.weight.detach().clone(), torch.randn(3, 4)
    codebook.replace(torch.tensor([1, 5, 7]), words)
    torch.testing.assert_close(codebook.weight[[1, 5, 7]], words, atol=1e-4, rtol=1e-4)
    assert torch.equal(codebook.weight[[0, 2, 15]], before[[0, 2, 15]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stochastic(0), "above 0, got 0"),
        (lambda: Entropy(0), "above 0, got 0"),
        (lambda: Orthogonality(1), "at least 2 codewords, got sample=1"),
    ],
)
def test_arguments_out_of_range(make, message):
    with pytest.raises(InputError, match=message):
        make()
