"""Loading the model of a run, of whichever kind."""

from __future__ import annotations

from pathlib import Path

from smalti.generation.continuous import ContinuousModel
from smalti.generation.discrete import Model
from smalti.runs import Run

__all__ = ["load"]


def load(folder: str | Path) -> Model | ContinuousModel:
    """Loads what a run directory holds so far.

    Raises:
        InputError: If it is not a run directory, or a model in it is missing or damaged.
    """
    kind = ContinuousModel if Run.existing(folder).is_continuous() else Model
    return kind.load(folder)
