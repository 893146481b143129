"""Training with Lightning, which no other room uses.

What needs Lightning is imported when it is first asked for: a fit without gradients, and whoever
only reads a recipe, do without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from smalti.training.hardware import Hardware
from smalti.training.launching import check_hardware
from smalti.training.objectives import (
    AdversarialObjective,
    ContinuousObjective,
    Objective,
    PerceptualObjective,
    SpectralObjective,
    TokenizerObjective,
)
from smalti.training.quantizer_fitting import fit_quantizer
from smalti.training.schedules import Constant, CosineDecay, Plateau, Schedule
from smalti.training.settings import Training
from smalti.training.vicreg import FeaturePretraining

if TYPE_CHECKING:
    from smalti.training.autoencoder_stage import AutoencoderStage
    from smalti.training.contrastive_stage import ContrastiveStage
    from smalti.training.feature_stage import FeatureStage
    from smalti.training.prior_stage import PriorStage, TokenBatch, Tokens
    from smalti.training.stage import Stage
    from smalti.training.trainer import train

__all__ = [
    "AdversarialObjective",
    "AutoencoderStage",
    "Constant",
    "ContinuousObjective",
    "ContrastiveStage",
    "CosineDecay",
    "FeaturePretraining",
    "FeatureStage",
    "Hardware",
    "Objective",
    "PerceptualObjective",
    "Plateau",
    "PriorStage",
    "Schedule",
    "SpectralObjective",
    "Stage",
    "TokenBatch",
    "TokenizerObjective",
    "Tokens",
    "Training",
    "check_hardware",
    "fit_quantizer",
    "train",
]

WITH_LIGHTNING = {
    "AutoencoderStage": "autoencoder_stage",
    "ContrastiveStage": "contrastive_stage",
    "FeatureStage": "feature_stage",
    "PriorStage": "prior_stage",
    "Stage": "stage",
    "TokenBatch": "prior_stage",
    "Tokens": "prior_stage",
    "train": "trainer",
}


def __getattr__(name: str) -> Any:
    """Imports what needs Lightning."""
    if name not in WITH_LIGHTNING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{WITH_LIGHTNING[name]}"), name)
