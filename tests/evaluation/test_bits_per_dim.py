"""Bits per dimension against cases in which they are known."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_models import K, tiny_histogram, tiny_model, tiny_splits
from torch import nn

from smalti.autoencoders import DiscreteAutoencoder
from smalti.evaluation import Limits, evaluate
from smalti.evaluation.measurements.bits import bits_figure, tokenizer_bits, uniform_nats
from smalti.evaluation.measurements.rate import mean_nats
from smalti.layout import Layout
from smalti.losses.likelihoods import Bernoulli, Categorical, Gaussian
from smalti.modalities.image import Image
from smalti.priors import Uniform
from smalti.quantizers import GradientCodebook, VectorQuantizer

LEVELS = 4


class Patches(nn.Module):
    """Encoder: the mean of each patch of 2×2 pixels is its vector."""

    downsampling, dim = 2, 1

    def forward(self, x):
        return nn.functional.avg_pool2d(x, 2)


class Repeated(nn.Module):
    """Decoder: each value of a patch is, almost surely, the level of its vector."""

    dim = 1

    def forward(self, z_q):
        z = z_q.repeat_interleave(2, 2).repeat_interleave(2, 3)
        levels = torch.linspace(-1, 1, LEVELS)[:, None, None]
        return -1000 * (z - levels).square()


def perfect_tokenizer() -> DiscreteAutoencoder:
    """One that loses nothing of images of patches of four levels."""
    codebook = GradientCodebook(codebook_size=LEVELS, dim=1)
    with torch.no_grad():
        codebook.weight.copy_(torch.linspace(-1, 1, LEVELS)[:, None])
    return DiscreteAutoencoder(
        Patches(),
        VectorQuantizer(codebook),
        Repeated(),
        Image(1, (6, 4)),
        Categorical(LEVELS),
    ).eval()


def test_patches_of_random_levels_cost_their_entropy():
    """log2 4 bits for each patch of 4 pixels: no code can do better, and this one reaches it."""
    tokenizer = perfect_tokenizer()
    grids = torch.randint(LEVELS, (10, 3, 2))
    x = (2 * grids[:, None] / (LEVELS - 1) - 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(tokenizer.encode(x), grids)
    nats = mean_nats(Uniform(LEVELS, (3, 2)), grids)
    assert nats == pytest.approx(uniform_nats(tokenizer.layout))
    figures = tokenizer_bits(
        {"uniform": nats}, tokenizer.nll(x), tokenizer.likelihood, tokenizer.signal, "test set"
    )
    assert figures["uniform"]["value"] == pytest.approx(2 / 4, rel=1e-5)
    assert figures["reconstruction"]["value"] == pytest.approx(0, abs=1e-5)
    assert "of 24 dimensions of 4 values" in figures["uniform"]["protocol"]


def test_a_decoder_that_knows_nothing_costs_eight_bits_beside_the_tokens():
    nll = Categorical()(torch.zeros(3, 256, 4, 4), torch.rand(3, 1, 4, 4)).nll
    rates = {"uniform": uniform_nats(Layout(((2, 2),), ((8, 2),)))}
    figures = tokenizer_bits(rates, nll, Categorical(), Image(1, (4, 4)), "test set")
    assert figures["reconstruction"]["value"] == pytest.approx(8, rel=1e-6)
    assert figures["uniform"]["value"] == pytest.approx(8 + 4 * (3 + 1) / 16, rel=1e-6)


def test_a_density_costs_the_entropy_of_what_it_fits():
    """8-bit values rounded from N(0, σ²): log2(σ √(2πe) / (2/255)) bits, σ within the range."""
    sigma, likelihood = 0.2, Gaussian(0.2)
    generator = torch.Generator().manual_seed(0)
    x = sigma * torch.randn(40, 1, 50, 50, generator=generator)
    x = ((x + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1
    nats = likelihood(torch.zeros_like(x), x).nll.mean().item()
    wanted = math.log2(sigma * math.sqrt(2 * math.pi * math.e) / (2 / 255))
    measured = bits_figure(nats, likelihood, 2500, "test set")
    assert measured["value"] == pytest.approx(wanted, abs=0.01)
    assert "8-bit values" in measured["protocol"]


def test_binary_bits_say_that_they_are():
    assert "low or high at random" in bits_figure(1.0, Bernoulli(), 4, "test set")["protocol"]


@pytest.mark.parametrize("prior", [True, False])
def test_the_report_has_the_bits_of_every_prior(prior):
    splits = tiny_splits()
    model = tiny_model(prior=prior, likelihood=Categorical(16))
    histogram = tiny_histogram(model, splits) if prior else None
    report = evaluate(
        model, splits, histogram, limits=Limits(classifier_steps=0, feature_steps=0, shown=4)
    )
    bits = report.figures["bits_per_dim"]
    assert set(bits) == {"uniform", "reconstruction", *(["histogram", "prior"] if prior else [])}
    of_tokens = bits["uniform"]["value"] - bits["reconstruction"]["value"]
    assert of_tokens == pytest.approx(16 * math.log2(K) / 256, rel=1e-4)
    if prior:
        rate = report.figures["rate"]["prior"]["bits_per_image"]["value"]
        of_tokens = bits["prior"]["value"] - bits["reconstruction"]["value"]
        assert of_tokens == pytest.approx(rate / 256, rel=1e-4)
    assert "Bits per dimension" in report.to_html()


def test_without_a_likelihood_the_report_has_no_bits_a_dimension():
    report = evaluate(tiny_model(prior=False), tiny_splits(), limits=Limits(classifier_steps=0))
    assert "bits_per_dim" not in report.figures
    assert "no likelihood" in report.not_applicable["Bits per dimension"]
