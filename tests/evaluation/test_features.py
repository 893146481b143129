"""The features that sets are compared in: learned without labels where there are none."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from test_report import Page
from tiny_models import LABELS, Stripes, tiny_histogram, tiny_model, tiny_splits

from small_autoencoders import assemble
from smalti.artifacts import save_model
from smalti.conditions import Label
from smalti.data import Splits, TensorExamples
from smalti.errors import InputError
from smalti.evaluation import EvaluationContext, Limits, evaluate
from smalti.evaluation.features import halve_grid, train_features
from smalti.modalities.series import Series
from smalti.modalities.vector import Vector
from smalti.networks import ConvFeatures

LIMITS = Limits(
    samples=24, classifier_steps=3, feature_steps=3, shown=4, batch_size=10, downloaded=False
)
SETS = ["train", "reconstructions", "uniform", "histogram", "prior"]


def unlabelled(**options):
    model, splits = tiny_model(), tiny_splits()
    return evaluate(model, splits, tiny_histogram(model, splits), limits=LIMITS, **options)


def context(model, splits, **changed):
    return EvaluationContext(model, splits, None, Limits(**{**vars(LIMITS), **changed}), 0)


def test_a_set_without_labels_gets_figures_for_samples_and_says_in_which_features():
    report = unlabelled()
    assert list(report.figures["frechet"]) == SETS
    assert list(report.figures["precision_recall"]) == SETS
    for of in report.figures["precision_recall"].values():
        assert list(of) == ["precision", "recall", "density", "coverage"]
        for figure in of.values():
            for said in ("N = 24", "k = 5", "without labels", "of the test set"):
                assert said in figure["protocol"]
    for place in (report.facts["Sets are compared in"], " ".join(Page(report.to_html()).texts)):
        assert "3 steps on 48 training images of this run alone, without labels" in place
    assert "within this report only" in report.to_html()
    assert report.failed == []


def test_labels_are_used_where_they_tell_examples_apart():
    model, splits = tiny_model(LABELS), tiny_splits(LABELS)
    space = context(model, splits).feature_space
    assert "classifier" in space.words
    assert "labels of these data" in space.place
    only = context(model, splits._replace(condition=Label(["only"]))).feature_space
    assert "without labels" in only.words


def test_the_seed_decides_and_no_generator_is_moved():
    splits = tiny_splits()
    x = splits.test.x
    before = torch.random.get_rng_state()
    first, again, other = (
        train_features(splits, 3, seed, torch.device("cpu")).features(x) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.allclose(first, other)


def test_only_training_examples_are_learned_from():
    splits = tiny_splits()
    changed = splits._replace(
        test=Stripes(24, 16, None, 7), validation=Stripes(12, 16, None, 8), condition=LABELS
    )
    x = splits.test.x
    spaces = (train_features(s, 3, 0, torch.device("cpu")) for s in (splits, changed))
    assert torch.equal(*(space.features(x) for space in spaces))


def test_features_of_training_examples_are_white():
    splits = tiny_splits()
    features = train_features(splits, 3, 0, torch.device("cpu")).features(splits.train.x)
    n, found = features.shape
    assert 1 < found <= 64
    assert torch.allclose(features.T @ features / n, torch.eye(found), atol=1e-2)
    assert torch.allclose(features.mean(0), torch.zeros(found), atol=1e-3)


def test_features_tell_kinds_apart_that_no_label_names():
    splits = tiny_splits()
    features = train_features(splits, 10, 0, torch.device("cpu")).features(splits.test.x)
    apart = torch.cdist(features, features) + 1e9 * torch.eye(24)
    assert ((apart.argmin(1) - torch.arange(24)) % 3 == 0).double().mean() > 0.8


@pytest.mark.parametrize("n", [5, 6])
def test_a_set_of_fewer_than_six_has_no_neighbours_and_says_so(n):
    model, splits = tiny_model(), tiny_splits(test=n)
    report = evaluate(model, splits, tiny_histogram(model, splits), limits=LIMITS)
    assert ("precision_recall" in report.figures) == (n == 6)
    title = "Precision, recall, density and coverage"
    assert n == 6 or "it takes 6 images of each kind at least" in report.missing[title]
    assert "prior" in report.figures["frechet"]


def test_the_runs_own_network_is_taken_where_there_is_one(tmp_path):
    splits, folder = tiny_splits(), tmp_path / "features"
    torch.manual_seed(5)
    network = ConvFeatures(splits.signal, hidden=2, layers=2)
    save_model(network, folder)
    model = tiny_model()
    model.run = SimpleNamespace(
        features=folder, read_config=lambda: {"tokenizer": {"features": {"training": {"steps": 7}}}}
    )
    space = context(model, splits).feature_space
    assert "this run's training compares images in, too: a small ConvFeatures" in space.place
    x = torch.cat([splits.train.x, splits.test.x])
    quarters = [torch.nn.functional.adaptive_avg_pool2d(maps, 2) for maps in network(x)]
    means = torch.cat([*(q.flatten(1) for q in quarters), torch.ones(len(x), 1)], 1)
    means, found = means.double().detach(), space.features(x).double().detach()
    # A linear map of the means, and nothing else.
    assert torch.allclose(means @ (torch.linalg.pinv(means) @ found), found, atol=1e-3)
    assert found.shape[1] <= 24


def test_vectors_are_their_own_features_standardised():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(60, 6, generator=draw) * torch.tensor([1.0, 5, 9, 0.1, 1, 1]) + 3
    signal = Vector(6)
    splits = Splits(*map(TensorExamples, x.split((36, 12, 12))), signal, None, None)
    space = context(SimpleNamespace(autoencoder=assemble(tiny_splits().signal)), splits)
    train = x[:36]
    wanted = (x - train.mean(0)) / train.std(0, correction=0)
    assert torch.allclose(space.feature_space.features(x), wanted, atol=1e-5)
    assert "each standardised by training vectors" in space.feature_space.place


def test_series_with_gaps_have_features():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(40, 2, 48, generator=draw)
    x[::3, 1, 10:20] = torch.nan
    signal = Series(2, (48,))
    splits = Splits(*map(TensorExamples, x.split((24, 8, 8))), signal, None, None)
    features = train_features(splits, 2, 0, torch.device("cpu")).features(x)
    assert len(features) == 40
    assert bool(features.isfinite().all())


def test_features_can_be_switched_off():
    subject = context(tiny_model(), tiny_splits(), feature_steps=0)
    assert not subject.can_compare
    with pytest.raises(InputError, match="switched off"):
        assert subject.feature_space


def test_long_grids_are_halved_and_short_ones_left():
    x = torch.rand(2, 3, 64, 100)
    assert halve_grid(x, 1024).shape == (2, 3, 16, 25)
    assert halve_grid(x, 1024).mean().item() == pytest.approx(x.mean().item(), abs=1e-6)
    assert halve_grid(x, 6400) is x
    assert halve_grid(torch.rand(1, 2, 4097), 1024).shape == (1, 2, 513)
