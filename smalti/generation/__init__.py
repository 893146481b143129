"""From a run directory to new data: what `smalti.load` gives."""

from smalti.generation.model import PRIORS, Model

__all__ = ["PRIORS", "Model", "load"]

load = Model.load
