"""Objectives: the losses that the training of an autoencoder minimises."""

from smalti.training.objectives.continuous_objective import ContinuousObjective
from smalti.training.objectives.objective import Objective
from smalti.training.objectives.tokenizer_objective import TokenizerObjective

__all__ = ["ContinuousObjective", "Objective", "TokenizerObjective"]
