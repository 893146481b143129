"""smalti: the toolkit for learned discrete latents.

The run directory that `smalti fit` has filled is a model:

    model = smalti.load("runs/clocks")
    indices = model.encode(x)           # (B, *grid) integers
    x_hat = model.decode(indices)
    new = model.sample(16, condition="10:10")
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from smalti.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from smalti.generation import ContinuousModel, Model

__all__ = ["InputError", "__version__", "load"]

__version__ = version("smalti")


def load(run: str | Path) -> Model | ContinuousModel:
    """Loads what a run directory holds: a tokenizer with its prior, or a continuous autoencoder.

    See `smalti.generation.Model` and `smalti.generation.ContinuousModel`.
    """
    # torch is imported when a model is wanted, not for `smalti --help`.
    from smalti import generation

    return generation.load(run)
