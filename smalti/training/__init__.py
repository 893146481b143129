"""Training with Lightning, which no other room uses."""

from smalti.training.autoencoder_stage import AutoencoderStage
from smalti.training.feature_stage import FeaturePretraining, FeatureStage
from smalti.training.objectives import (
    AdversarialObjective,
    ContinuousObjective,
    Objective,
    PerceptualObjective,
    TokenizerObjective,
)
from smalti.training.prior_stage import PriorStage, TokenBatch, Tokens
from smalti.training.quantizer_fitting import fit_quantizer
from smalti.training.schedules import Constant, CosineDecay, Plateau, Schedule
from smalti.training.stage import Stage, Training
from smalti.training.trainer import Hardware, check_hardware, train

__all__ = [
    "AdversarialObjective",
    "AutoencoderStage",
    "Constant",
    "ContinuousObjective",
    "CosineDecay",
    "FeaturePretraining",
    "FeatureStage",
    "Hardware",
    "Objective",
    "PerceptualObjective",
    "Plateau",
    "PriorStage",
    "Schedule",
    "Stage",
    "TokenBatch",
    "TokenizerObjective",
    "Tokens",
    "Training",
    "check_hardware",
    "fit_quantizer",
    "train",
]
