"""The small classifier learns an easy task, repeatably, and leaves no trace."""

import torch
from tiny_models import LABELS, tiny_splits

from smalti.evaluation.batches import batches
from smalti.evaluation.classifier import train_classifier
from smalti.evaluation.measurements.frechet import classifier_features
from smalti.modalities.image.classifier import ImageClassifier


def test_it_learns_to_tell_three_kinds_apart():
    splits = tiny_splits(LABELS)
    classifier = train_classifier(splits, steps=25, seed=0)
    test = batches(splits.test, range(len(splits.test)), batch_size=7)
    assert classifier.accuracy(test) > 0.95


def test_the_seed_alone_decides_and_the_global_generator_is_left_as_it_was():
    splits = tiny_splits(LABELS)
    before = torch.random.get_rng_state()
    first = train_classifier(splits, steps=2, seed=3).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(5)
    second = train_classifier(splits, steps=2, seed=3).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_large_and_narrow_images_are_scaled_down_to_the_same_features():
    classifier = ImageClassifier(channels=3, classes=2).eval()
    for size in [(96, 48), (32, 20), (9, 9)]:
        images = [torch.zeros(2, 3, *size), torch.ones(1, 3, *size)]
        assert classifier_features(classifier, images).shape == (3, 64)
