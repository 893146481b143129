"""Training with Lightning, which no other room uses."""

from smalti.training.autoencoder_stage import AutoencoderStage
from smalti.training.objectives import ContinuousObjective, Objective, TokenizerObjective
from smalti.training.prior_stage import PriorStage, TokenBatch, Tokens
from smalti.training.quantizer_fitting import fit_quantizer
from smalti.training.schedules import Constant, CosineDecay, Plateau, Schedule
from smalti.training.stage import Stage, Training
from smalti.training.trainer import Hardware, check_hardware, train

__all__ = [
    "AutoencoderStage",
    "Constant",
    "ContinuousObjective",
    "CosineDecay",
    "Hardware",
    "Objective",
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
