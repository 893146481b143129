"""What is measured of latents, against closed forms; and the whole report of continuous models."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from test_report import Page
from tiny_models import LABELS, tiny_splits

from small_autoencoders import assemble, linear_gaussian
from smalti.data import Batch, Examples, Splits
from smalti.evaluation import EvaluationContext, Limits, evaluate
from smalti.evaluation.measurements.bounds import bound_figures
from smalti.evaluation.measurements.latent_dimensions import latent_figures
from smalti.reporting.figures import is_figure

LIMITS = Limits(
    samples=12,
    classifier_steps=3,
    feature_steps=2,
    shown=4,
    batch_size=10,
    bounded=8,
    importance=5,
)


class Given(Examples):
    """These very signals."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitems__(self, indices):
        return Batch(self.x[list(indices)], None)

    def conditions_at(self, indices):
        return None


def context(model, splits, limits):
    return EvaluationContext(SimpleNamespace(autoencoder=model), splits, None, limits, 0)


def test_bounds_of_a_model_with_the_true_posterior_are_its_likelihood():
    model, marginal = linear_gaussian()
    x = marginal.sample((2000,)).view(-1, 1, 1, 3)
    splits = Splits(Given(x), Given(x), Given(x), model.signal, None, None)
    limits = Limits(bounded=2000, importance=1)
    with torch.no_grad():
        figures = bound_figures(context(model, splits, limits), model)
    value = {name: figure["value"] for name, figure in figures.items()}
    nats = -marginal.log_prob(x.flatten(1)).mean().item()
    assert value["importance"] == pytest.approx(nats, abs=1e-3)
    assert value["negative_elbo"] == pytest.approx(nats, abs=0.06)  # of 2,000 draws
    assert value["negative_elbo"] == pytest.approx(value["reconstruction"] + value["kl"])
    bits = (nats / 3 + math.log(255 / 2)) / math.log(2)
    assert value["importance_bits"] == pytest.approx(bits, abs=1e-3)


def test_a_dimension_that_does_not_move_is_not_active():
    model = assemble(tiny_splits().signal, dim=3)
    last = model.encoder.linear
    with torch.no_grad():
        last.weight[:3] *= torch.tensor([50.0, 0.0, 50.0])[:, None]
        last.weight[3:] = 0.0
        last.bias[3:] = -6.0
    subject = context(model, tiny_splits(), LIMITS)
    with torch.no_grad():
        figures = latent_figures(subject)
    assert figures["active_units"]["value"] == 2
    assert 0 < figures["information"]["value"] <= math.log(24) + 1e-6


@pytest.mark.parametrize("variational", [True, False])
def test_all_that_a_continuous_model_allows_is_there(variational):
    splits = tiny_splits(LABELS)
    model = assemble(splits.signal, variational=variational)
    report = evaluate(SimpleNamespace(autoencoder=model), splits, limits=LIMITS, title="S")
    assert ("bounds" in report.figures) == variational
    assert ("Likelihood" in report.missing) != variational
    assert list(report.figures["frechet"]) == ["train", "reconstructions", "prior"]
    assert set(report.figures["conditional_accuracy"]) == {"test", "reconstructions"}
    pictures = {"latents-dimensions.png", "latents-interpolations.png", "latents-traversals.png"}
    assert pictures < report.files().keys()
    found = [f for group in report.figures.values() for f in group.values() if is_figure(f)]
    assert all("N = " in figure["protocol"] for figure in found)
    page = Page(report.to_html())
    assert page.tags.count("img") == len(report.files())
    again = evaluate(SimpleNamespace(autoencoder=model), splits, limits=LIMITS, title="S")
    assert again.figures == report.figures
