"""Samples beside training examples, and at several temperatures and guidances."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tiny_models import LABELS, Given, K, tiny_histogram, tiny_model, tiny_splits

from small_autoencoders import assemble
from smalti.conditions import OptionalCondition
from smalti.evaluation import EvaluationContext, Limits, Report
from smalti.evaluation.measurements import NearestExamples, SamplingOptions
from smalti.evaluation.measurements.sampling_options import OPTIONS
from smalti.evaluation.memo import measurement_mode
from smalti.generation import Model
from smalti.priors import MaskedPrior, PixelCNN

LIMITS = Limits(
    samples=24, classifier_steps=1, feature_steps=1, shown=4, batch_size=10, downloaded=False
)


def take(measurement, model, splits, histogram=None, **changed):
    limits = Limits(**{**vars(LIMITS), **changed})
    subject = EvaluationContext(model, splits, histogram, limits, 0, [measurement])
    report = Report("x")
    with measurement_mode(0, subject.autoencoder, subject.prior):
        report.take(measurement, subject)
    assert report.failed == []
    return report


def test_a_prior_is_sampled_with_every_option_that_it_can_follow():
    model, splits = tiny_model(), tiny_splits()
    report = take(SamplingOptions(), model, splits)
    rows = ["temperature-0.7", "temperature-0.85", "temperature-1", "top_p-0.9"]
    assert list(report.files()) == [f"sampling-{name}.png" for name in rows]
    assert list(report.figures["sampling"]) == rows
    for of in report.figures["sampling"].values():
        assert list(of) == ["frechet", "precision", "recall", "density", "coverage"]
        assert all("N = 24 samples of each line" in figure["protocol"] for figure in of.values())
    assert list(report.missing) == ["Samples with guidance"]
    assert "this PixelCNN has none" in report.missing["Samples with guidance"]
    assert report.without.keys() == {"sampling/guidance-1.5", "sampling/guidance-3"}


def test_a_prior_that_learned_without_its_label_is_guided():
    condition, splits = OptionalCondition(LABELS, 0.1), tiny_splits(LABELS)
    model = tiny_model(LABELS)
    model = Model(model.autoencoder, PixelCNN(K, model.autoencoder.grid, condition, hidden=8))
    with torch.no_grad():
        model.prior.second.weight *= 20  # so that it is not all alike
    report = take(SamplingOptions(), model, splits)
    assert list(report.figures["sampling"]) == list(OPTIONS)
    files = report.files()
    assert len(set(files.values())) == len(OPTIONS)  # each option draws something else
    assert not report.missing


def test_a_prior_that_cannot_follow_an_option_says_so():
    model = tiny_model()
    prior = MaskedPrior(K, model.autoencoder.grid, hidden=8, layers=1, heads=1)
    report = take(SamplingOptions(), Model(model.autoencoder, prior), tiny_splits())
    able = [name for name in OPTIONS if name.partition("-")[0] in prior.takes]
    assert [*report.figures["sampling"]] == [n for n in able if not n.startswith("guidance")]


def test_latent_vectors_are_drawn_at_several_temperatures():
    splits = tiny_splits()
    model = SimpleNamespace(autoencoder=assemble(splits.signal))
    report = take(SamplingOptions(), model, splits)
    temperatures = [name for name in OPTIONS if name.startswith("temperature")]
    assert list(report.figures["sampling"]) == temperatures
    assert "without top_p" in report.missing["Samples with top-p"]


def test_too_few_are_shown_and_not_measured():
    model, splits = tiny_model(), tiny_splits()
    report = take(SamplingOptions(), model, splits, samples=5)
    assert "sampling" not in report.figures
    assert "sampling-temperature-0.7.png" in report.files()


def test_a_prior_that_repeats_training_grids_is_found_out():
    model, splits = tiny_model(), tiny_splits()
    histogram = tiny_histogram(model, splits)
    parrot = Model(model.autoencoder, histogram)
    report = take(NearestExamples(), parrot, splits, histogram)
    assert report.figures["nearest"]["remembered"]["value"] == 1
    fresh = take(NearestExamples(), model, splits, histogram)
    assert fresh.figures["nearest"]["remembered"]["value"] < 1
    assert set(fresh.files()) == {"nearest-samples.png", "nearest-training.png"}


def test_test_examples_that_are_training_examples_have_no_distance():
    model, splits = tiny_model(), tiny_splits()
    same = splits._replace(test=Given(splits.train.x[:24]))
    figures = take(NearestExamples(), model, same).figures["nearest"]
    assert figures["distance"]["test"]["value"] == 0
    assert figures["distance"]["samples"]["value"] > 0


def test_the_nearest_example_is_shown(monkeypatch):
    model, splits = tiny_model(), tiny_splits()
    subject = EvaluationContext(model, splits, None, LIMITS, 0, [NearestExamples()])
    shown = []
    monkeypatch.setattr(type(subject.modality), "render", lambda _, x, *__: shown.append(x))
    with measurement_mode(0):
        NearestExamples().run(subject)
        samples, found = shown
        of = subject.feature_space.features
        apart = torch.cdist(of(samples), of(splits.train.x))
    assert torch.equal(found, splits.train.x[apart.argmin(1)])


def test_a_sample_of_vectors_is_compared_with_a_reconstruction(monkeypatch):
    splits = tiny_splits()
    autoencoder = assemble(splits.signal)
    z = autoencoder.encode_flat(splits.train.x[:24])
    subject = EvaluationContext(SimpleNamespace(autoencoder=autoencoder), splits, None, LIMITS, 0)
    with measurement_mode(0):
        drawn = NearestExamples().run(subject).figures["equal"]["value"]
        subject = EvaluationContext(
            SimpleNamespace(autoencoder=autoencoder), splits, None, LIMITS, 0
        )
        monkeypatch.setattr(type(subject), "sampled", lambda *_: z)
        found = NearestExamples().run(subject)
    assert drawn == 0
    assert found.figures["equal"]["unit"] == "share"


@pytest.mark.parametrize("measurement", [NearestExamples(), SamplingOptions()])
def test_without_a_prior_there_are_no_samples(measurement):
    report = take(measurement, tiny_model(prior=False), tiny_splits())
    assert report.not_applicable == {measurement.title: "no prior was learned."}
