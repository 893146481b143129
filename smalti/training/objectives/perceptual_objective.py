"""Adds to an objective the distance of x̂ and x in the features of a network.

    loss = loss of the objective + weight · mean over the batch of d(x, x̂)

d is `smalti.losses.feature_distance`. The network is not trained here: it is a user's own, or was
trained before on the same data without labels (`tokenizer.features` of a recipe).

References:
    The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, R. Zhang et al., 2018,
    arXiv 1801.03924.
    Perceptual Losses for Real-Time Style Transfer and Super-Resolution, J. Johnson, A. Alahi and
    L. Fei-Fei, 2016, arXiv 1603.08155.
"""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor

from smalti.autoencoders import Reconstruction
from smalti.losses import feature_distance
from smalti.networks import FeatureNetwork
from smalti.signals import Signal
from smalti.training.objectives.objective import Objective

__all__ = ["PerceptualObjective", "fill_gaps"]


def fill_gaps(x: Tensor, x_hat: Tensor) -> Tensor:
    """Fills values that are missing in x (NaN) with those of x_hat, which then differ nowhere."""
    return torch.where(x.isnan(), x_hat.detach().to(x.dtype), x)


class PerceptualObjective(Objective):
    """The loss of another objective, and the distance of features ("perceptual").

    Arguments:
        objective: The objective that it adds to.
        weight: The weight of the distance of features.
    """

    features: FeatureNetwork | None

    def __init__(self, objective: Objective, weight: float = 1.0) -> None:
        super().__init__()
        self.objective, self.weight = objective, weight
        self.features = None

    @property
    def has_adversary(self) -> bool:
        """See `Objective.has_adversary`."""
        return self.objective.has_adversary

    @property
    def needs_features(self) -> bool:
        """See `Objective.needs_features`."""
        return True

    @property
    def warmup(self) -> int:
        """See `Objective.warmup`."""
        return self.objective.warmup

    def prepare(self, signal: Signal, features: FeatureNetwork | None) -> None:
        """See `Objective.prepare`; it takes a copy of the features, and never trains it."""
        self.objective.prepare(signal, features)
        self.features = copy.deepcopy(features)
        if self.features is not None:
            self.features.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode of all but the features, which are always in evaluation mode."""
        super().train(mode)
        if self.features is not None:
            self.features.eval()
        return self

    def forward(self, x: Tensor, output: Reconstruction, step: int) -> dict[str, Tensor]:
        """See `Objective.forward`."""
        assert self.features is not None, "prepare gives the features"
        terms = self.objective(x, output, step)
        with torch.no_grad():
            wanted = self.features(fill_gaps(x, output.x_hat))
        distance = feature_distance(self.features(output.x_hat), wanted).mean()
        return {**terms, "loss": terms["loss"] + self.weight * distance, "perceptual": distance}

    def adversary(self, x: Tensor, output: Reconstruction, step: int) -> dict[str, Tensor] | None:
        """See `Objective.adversary`: that of the objective it adds to."""
        return self.objective.adversary(x, output, step)
