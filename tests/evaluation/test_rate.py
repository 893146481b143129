"""Nats and bits against priors with a known likelihood."""

import math

import pytest
import torch
from tiny_models import LABELS, K, tiny_histogram, tiny_model, tiny_splits

from smalti.evaluation.measurements.rate import mean_nats, rate_figures
from smalti.modalities.image import Image
from smalti.priors import Uniform

SIGNAL = Image(1, (16, 16))


def rates(prior, indices, context=None, batch_size=256):
    nats = mean_nats(prior, indices, context, batch_size)
    return rate_figures(prior, nats, indices, SIGNAL, "test set")


@pytest.mark.parametrize(("size", "grid"), [(512, (7, 7)), (7, (3, 5)), (1, (2,))])
def test_the_uniform_code_costs_log2_of_the_codebook_size(size, grid):
    indices = torch.randint(size, (20, *grid))
    if size == 1:
        assert mean_nats(Uniform(size, grid), indices) == 0
        return
    figures = rates(Uniform(size, grid), indices)
    positions = math.prod(grid)
    assert figures["bits_per_index"]["value"] == pytest.approx(math.log2(size), rel=1e-6)
    assert figures["bits_per_image"]["value"] == pytest.approx(
        positions * math.log2(size), rel=1e-6
    )
    assert figures["nats_per_index"]["value"] == pytest.approx(math.log(size), rel=1e-6)
    assert figures["share_of_uniform"]["value"] == pytest.approx(1, rel=1e-6)


def test_a_learned_prior_costs_its_loss():
    model = tiny_model(LABELS)
    indices, labels = torch.randint(K, (10, 4, 4)), torch.arange(10) % 3
    with torch.no_grad():
        wanted = model.prior.loss(indices, labels).item()
    measured = rates(model.prior, indices, labels, batch_size=3)
    assert measured["nats_per_index"]["value"] == pytest.approx(wanted, rel=1e-5)


def test_an_unconditional_prior_is_not_shown_the_labels():
    model = tiny_model()
    indices = torch.randint(K, (4, 4, 4))
    without = mean_nats(model.prior, indices)
    assert mean_nats(model.prior, indices, torch.zeros(4).long()) == without


def test_the_histogram_beats_uniform_on_grids_that_it_saw():
    model, splits = tiny_model(), tiny_splits()
    histogram = tiny_histogram(model, splits)
    seen = model.autoencoder.encode(splits.train.x)
    figures = rates(histogram, seen)
    assert figures["share_of_uniform"]["value"] < 0.9
    protocol = figures["bits_per_image"]["protocol"]
    assert "a likelihood of tokens, not of images" in protocol
    assert f"and {len(seen)} of these {len(seen)} are among them" in protocol
