"""From a run directory to new data: what `smalti.load` gives."""

from smalti.generation.continuous import ContinuousModel
from smalti.generation.discrete import PRIORS, Model
from smalti.generation.loading import load

__all__ = ["PRIORS", "ContinuousModel", "Model", "load"]
