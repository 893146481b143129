"""Losses between a signal and its reconstruction, of discriminators, and likelihoods."""

from smalti.losses.adversarial import (
    R1,
    AdversarialLoss,
    DiscriminatorPenalty,
    Hinge,
    LeCam,
    NonSaturating,
    feature_matching,
    mean_score,
)
from smalti.losses.perceptual import feature_distance
from smalti.losses.reconstruction import L1, MSE, ObservedValues, ReconstructionLoss
from smalti.losses.spectral import MelDistance, MultiResolutionSTFT

__all__ = [
    "L1",
    "MSE",
    "R1",
    "AdversarialLoss",
    "DiscriminatorPenalty",
    "Hinge",
    "LeCam",
    "MelDistance",
    "MultiResolutionSTFT",
    "NonSaturating",
    "ObservedValues",
    "ReconstructionLoss",
    "feature_distance",
    "feature_matching",
    "mean_score",
]
