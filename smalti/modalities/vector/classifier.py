"""A small classifier of vectors.

x (B, d) ─▶ dimensions normalized ─▶ linear, ReLU, twice: 128, 64 features ─▶ linear: logits
"""

from __future__ import annotations

from torch import Tensor, nn

from smalti.modalities.base import Classifier

__all__ = ["VectorClassifier"]


class VectorClassifier(Classifier):
    """A small fully connected classifier of vectors.

    Arguments:
        channels: d, dimensions of a vector.
        classes: Number of classes.
        features: F, the number of features before the last layer.
        hidden: Width of the hidden layer.
    """

    def __init__(self, channels: int, classes: int, features: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm1d(channels, affine=False),
            nn.Linear(channels, hidden),
            nn.ReLU(),
            nn.Linear(hidden, features),
            nn.ReLU(),
        )
        self.head = nn.Linear(features, classes)

    def features(self, x: Tensor) -> Tensor:
        """Maps vectors (B, d) to features (B, F), the inputs of the last layer."""
        return self.body(x)
