"""Likelihoods p(x | h): what a decoder's output h says about the signal, in nats."""

from smalti.losses.likelihoods.bernoulli import Bernoulli
from smalti.losses.likelihoods.categorical import Categorical
from smalti.losses.likelihoods.gaussian import Gaussian
from smalti.losses.likelihoods.likelihood import (
    Likelihood,
    LikelihoodOutput,
    bits_per_dim,
    from_integers,
    to_integers,
)
from smalti.losses.likelihoods.logistic_mixture import LogisticMixture
from smalti.losses.likelihoods.pixelcnn_likelihood import PixelCNNLikelihood

__all__ = [
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "Likelihood",
    "LogisticMixture",
    "PixelCNNLikelihood",
    "LikelihoodOutput",
    "bits_per_dim",
    "from_integers",
    "to_integers",
]
