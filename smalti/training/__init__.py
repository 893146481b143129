"""Training with Lightning: the only room that knows it."""

from smalti.training.continuous_stage import ContinuousObjective, ContinuousStage
from smalti.training.prior_stage import PriorStage, TokenBatch, Tokens
from smalti.training.schedules import Constant, Cosine, Plateau, Schedule
from smalti.training.stage import Stage, Training
from smalti.training.tokenizer_stage import TokenizerObjective, TokenizerStage
from smalti.training.trainer import Hardware, check_hardware, train

__all__ = [
    "Constant",
    "ContinuousObjective",
    "ContinuousStage",
    "Cosine",
    "Hardware",
    "Plateau",
    "PriorStage",
    "Schedule",
    "Stage",
    "TokenBatch",
    "TokenizerObjective",
    "TokenizerStage",
    "Tokens",
    "Training",
    "check_hardware",
    "train",
]
