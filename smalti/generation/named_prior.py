"""Finds a prior of a model by its name: the learned one, or one of two baselines over tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smalti.errors import InputError
from smalti.priors import Prior, uniform_prior

if TYPE_CHECKING:
    from smalti.generation.model import Model

__all__ = ["PRIORS", "named_prior"]

PRIORS = ("learned", "histogram", "uniform")


def named_prior(model: Model, name: str) -> Prior:
    """Returns the prior of a model called "learned", "histogram" or "uniform".

    Raises:
        InputError: If there is no such prior, or what it needs is missing.
    """
    if name not in PRIORS:
        raise InputError(f"There is no prior {name!r}: choose one of {', '.join(PRIORS)}.")
    if name == "learned":
        if model.prior is not None:
            return model.prior
        if model.run is not None and model.run.prior.exists():
            raise InputError(
                f"The priors in {model.run.prior} are not whole: give the same smalti fit "
                f"again to go on, or use the prior 'uniform'."
            )
        raise InputError("No prior was learned in this run: use the prior 'uniform', or fit one.")
    if model.layout is None:
        raise InputError(f"A continuous model has one prior, got {name!r}: leave it out.")
    if name == "uniform":
        return uniform_prior(model.layout)
    if model.run is None:
        raise InputError(
            "The prior 'histogram' draws from a run's tokens: load the model from its run."
        )
    from smalti.generation import measuring  # which the light install cannot import

    return measuring.fit_histogram(model.run, model.layout, model.condition)
