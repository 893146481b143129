"""A small classifier, trained on the data's own labels: an eye for images that needs no download.

    x (B, C, H, W) ─▶ at most 32 px ─▶ five 3×3 convolutions, down to an eighth, 32 to 128 channels
                   ─▶ mean over positions ─▶ linear, ReLU: 64 features ─▶ linear: logits

It says which class a generated image shows, and its 64 features are the space of the Fréchet
distance. It is trained only on real images and sees no sample before it judges; how well it sees
is reported beside what it says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.artifacts import first_not_finite
from smalti.conditions import Label
from smalti.data import Batch, Splits
from smalti.errors import InputError

__all__ = ["Classifier", "check_classes", "train_classifier"]

SIDE = 32  # px: larger images are scaled down to this
BATCH = 128


class Classifier(nn.Module):
    """Classifies images.

    Arguments:
        channels: Of the images.
        classes: Their number.
        features: Width of the last layer but one.
        width: Channels of the first convolution.
    """

    def __init__(self, channels: int, classes: int, features: int = 64, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(channels, width, stride=2),
            *_convolution(width, width),
            *_convolution(width, 2 * width, stride=2),
            *_convolution(2 * width, 2 * width),
            *_convolution(2 * width, 4 * width, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, features),
            nn.ReLU(),
        )
        self.head = nn.Linear(features, classes)

    def features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] → (B, features): what the last layer sees."""
        scale = SIDE / max(x.shape[2:])
        if scale < 1:
            x = F.interpolate(x, scale_factor=scale, mode="area")
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] → logits (B, classes)."""
        return self.head(self.features(x))

    @torch.no_grad()
    def accuracy(self, batches: Iterable[Batch]) -> float:
        """The share of images whose class it says as `condition` does."""
        right = total = 0
        for x, labels in batches:
            assert labels is not None
            right += int((self(x).argmax(1) == labels).sum())
            total += len(x)
        return right / total


def check_classes(splits: Splits) -> None:
    """Raises `InputError` unless there are training images, of two labels at least."""
    assert isinstance(splits.condition, Label)
    if not len(splits.train):
        raise InputError("There are no training images to train a classifier on: add some.")
    if splits.condition.dim < 2:
        raise InputError(
            f"All images have the one label {splits.condition.names[0]!r}, which any image shows: "
            f"it takes two labels to train a classifier."
        )


def train_classifier(
    splits: Splits, steps: int, seed: int, device: torch.device | str = "cpu"
) -> Classifier:
    """Trains a classifier on the labels of the training split, with the data's own augmentation.

    AdamW with a rate that rises to 3e-3 and falls to 0, in batches of 128 drawn with replacement.
    The same seed on the same machine gives the same classifier; torch's global generators are
    left as they were.

    Raises:
        InputError: If its weights do not stay finite.
    """
    assert isinstance(splits.condition, Label)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # all that is drawn is drawn on the CPU
        classifier = Classifier(splits.signal.channels, splits.condition.dim).to(device).train()
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=3e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: _rise_and_fall(step, steps)
        )
        for _ in range(steps):
            x, labels = splits.train.__getitems__(
                torch.randint(len(splits.train), (BATCH,)).tolist()
            )
            assert labels is not None
            x = splits.augment(x) if splits.augment is not None else x
            loss = F.cross_entropy(classifier(x.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    if (bad := first_not_finite(classifier.state_dict())) is not None:
        raise InputError(
            f"The classifier of the evaluation has diverged (its weights {bad} are not finite): "
            f"are the images finite? evaluation.classifier_steps 0 does without it."
        )
    return classifier.eval()


def _convolution(channels: int, width: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]


def _rise_and_fall(step: int, steps: int) -> float:
    """A fifth of the way linearly up to 1, then along a cosine down to 0."""
    rise = max(1, steps // 5)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
