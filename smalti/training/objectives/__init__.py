"""Objectives: the losses that the training of an autoencoder minimises."""

from smalti.training.objectives.adversarial_objective import AdversarialObjective
from smalti.training.objectives.continuous_objective import ContinuousObjective
from smalti.training.objectives.objective import Objective
from smalti.training.objectives.perceptual_objective import PerceptualObjective
from smalti.training.objectives.spectral_objective import SpectralObjective
from smalti.training.objectives.tokenizer_objective import TokenizerObjective

__all__ = [
    "AdversarialObjective",
    "ContinuousObjective",
    "Objective",
    "PerceptualObjective",
    "SpectralObjective",
    "TokenizerObjective",
]
