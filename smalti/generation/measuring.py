"""Measures a model on the data of its run, and fits a histogram to its training tokens.

This is no part of the light install: tables are read, and recipes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from torch import Tensor

from smalti.artifacts import checksum
from smalti.conditions import Condition
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.priors import Histogram
from smalti.run_directory import Run
from smalti.runs import load_run_data
from smalti.token_cache import cached_tokenizer, read_cache
from smalti.tokens import TokenGrids

if TYPE_CHECKING:
    from smalti.data import Splits
    from smalti.generation.model import Model

__all__ = ["evaluate", "fit_histogram", "training_tokens"]


def fit_histogram(run: Run, layout: Layout, condition: Condition | None) -> Histogram:
    """Fits the prior "histogram" to the tokens of a run's training set.

    Raises:
        InputError: If the tokens are missing, damaged or of another tokenizer.
    """
    cached = _training_cache(run)
    unequal = layout.levels == 1 and len(set(layout.sizes)) > 1
    sizes = layout.sizes if unequal else layout.largest
    made = Histogram(sizes, layout.shape, condition)
    made.fit(layout.pack(cached.levels), None if condition is None else cached.context)
    return made


def training_tokens(run: Run) -> tuple[Tensor, ...]:
    """Reads the tokens of a run's training set: the indices (N, *shape) of each level.

    Raises:
        InputError: If they are missing, damaged or of another tokenizer.
    """
    return _training_cache(run).levels


def evaluate(model: Model, splits: Splits | None, **options: Any) -> Any:
    """Measures a model on the test set of its data, or of `splits`; see `Model.evaluate`."""
    if splits is None:
        if model.run is None:
            raise InputError("A model without its run has no data: give its splits.")
        splits = load_run_data(model.run)
    found, why = None, ""
    if model.prior is not None and model.layout is not None and model.run is not None:
        try:
            found = fit_histogram(model.run, model.layout, model.condition)
        except InputError as error:  # damaged tokens cost this prior alone
            why = str(error)
    # Evaluation lies above this room: it is named, not imported at the top.
    evaluation = importlib.import_module("smalti.evaluation")
    report = evaluation.evaluate(model, splits, found, **options)
    if why:
        report.leave_out("Histogram of the training tokens", why, "rate/histogram")
    return report


def _training_cache(run: Run) -> TokenGrids:
    """Reads the token grids of a run's training set, and checks whose they are."""
    if cached_tokenizer(run.tokens) not in (None, checksum(run.tokenizer)):
        raise InputError(
            f"The {run.tokens} are of another tokenizer: give the same smalti fit again, which "
            f"makes them anew."
        )
    return read_cache(run.tokens, "train")
