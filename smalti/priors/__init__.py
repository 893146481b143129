"""Priors: distributions over the latents of an autoencoder, tokens or vectors."""

from smalti.priors.absorbing import AbsorbingDiffusion
from smalti.priors.autoregressive import AutoregressivePrior, Stepper
from smalti.priors.base import Prior
from smalti.priors.bounded import BoundedPrior
from smalti.priors.cascade import (
    BoundedCascade,
    Cascade,
    CascadeWithoutLikelihood,
    LevelPriors,
    cascade_of,
    uniform_prior,
    uniform_prior_like,
)
from smalti.priors.depth import DepthPixelCNN
from smalti.priors.empirical import Histogram, Uniform
from smalti.priors.gaussian_prior import GaussianPrior
from smalti.priors.latent_diffusion import LatentDiffusion
from smalti.priors.masked import MaskedPrior
from smalti.priors.pixelcnn import PixelCNN
from smalti.priors.pixelsnail import PixelSNAIL
from smalti.priors.sampling import SamplingConfig, sample_from_logits
from smalti.priors.token_prior import TokenPrior, TractablePrior
from smalti.priors.transformer import TransformerPrior

__all__ = [
    "AbsorbingDiffusion",
    "AutoregressivePrior",
    "BoundedCascade",
    "BoundedPrior",
    "Cascade",
    "CascadeWithoutLikelihood",
    "SamplingConfig",
    "DepthPixelCNN",
    "GaussianPrior",
    "Histogram",
    "LatentDiffusion",
    "LevelPriors",
    "MaskedPrior",
    "PixelCNN",
    "PixelSNAIL",
    "Prior",
    "Stepper",
    "TokenPrior",
    "TractablePrior",
    "TransformerPrior",
    "Uniform",
    "cascade_of",
    "sample_from_logits",
    "uniform_prior",
    "uniform_prior_like",
]
