"""Trains a classifier on the labels of the data, whose features compare sets of signals.

The network is the modality's. It says which class a generated signal shows, and its features are
the space of the Fréchet distance. It is trained only on real signals and sees no sample before it
judges; how well it sees is reported beside what it says.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.conditions import Label
from smalti.data import Splits
from smalti.errors import InputError
from smalti.evaluation.short_training import check_weights, minimize
from smalti.modalities.base import Classifier, modality_of

__all__ = ["check_classes", "train_classifier"]

BATCH = 128


def check_classes(splits: Splits) -> None:
    """Raises `InputError` unless the training examples have at least two different labels."""
    assert isinstance(splits.condition, Label)
    noun, plural = splits.signal.noun, splits.signal.plural
    if not len(splits.train):
        raise InputError(f"There are no training {plural} to train a classifier on: add some.")
    if splits.condition.dim < 2:
        raise InputError(
            f"All {plural} have the one label {splits.condition.names[0]!r}, which any {noun} "
            f"shows: it takes two labels to train a classifier."
        )


def train_classifier(
    splits: Splits, steps: int, seed: int, device: torch.device | str = "cpu"
) -> Classifier:
    """Trains a classifier on the labels of the training split, with the data's own augmentation.

    AdamW with a rate that rises to 3e-3 and falls to 0, in batches of 128 drawn with replacement.
    The same seed on the same machine gives the same classifier; torch's global generators are
    left as they were.

    Raises:
        InputError: If such signals have no classifier, or its weights do not stay finite.
    """
    assert isinstance(splits.condition, Label)
    modality = modality_of(splits.signal)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # all that is drawn is drawn on the CPU
        network = modality.classifier(splits.signal, splits.condition.dim)
        if network is None:
            raise InputError(f"there is no classifier of such {splits.signal.plural}.")
        classifier = network.to(device).train()
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=3e-3, weight_decay=1e-2)

        def loss() -> Tensor:
            rows = torch.randint(len(splits.train), (BATCH,)).tolist()
            if splits.train.varies:
                x, labels = splits.train.varied(rows, torch.randint(2**62, (BATCH,)).tolist())
            else:
                x, labels = splits.train.__getitems__(rows)
            assert labels is not None
            x = splits.augment(x) if splits.augment is not None else x
            return F.cross_entropy(classifier(x.to(device)), labels.to(device))

        minimize(loss, optimizer, steps)
    check_weights(
        classifier,
        "The classifier of the evaluation",
        splits.signal.plural,
        "evaluation.classifier_steps",
    )
    return classifier.eval()
