"""Evaluates a model: takes a list of measurements, and makes one report of them.

    test set ─▶ encoder ─▶ latents ─▶ decoder ─▶ reconstructions     metrics of the modality
                             ├─ of tokens: usage, rate under each prior, bits per dimension
                             └─ vectors: bounds of the likelihood, what each dimension holds
    each prior ─▶ latents ─▶ decoder ─▶ samples                      distances, accuracy

Everything is measured on the test split, in evaluation mode, and with draws that depend on the
seed alone. What cannot be measured is named in the report with the reason, and ends nothing. The
modality of the data and the source that they come from add measurements of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from smalti import synthetic
from smalti.data import Splits
from smalti.evaluation.evaluation_context import EvaluationContext, check_same_signal
from smalti.evaluation.limits import Limits
from smalti.evaluation.measurements import MEASUREMENTS, FeatureDistance, TrainingCurves
from smalti.evaluation.memo import measurement_mode
from smalti.evaluation.report import Report
from smalti.memory import give_back
from smalti.modalities.base import import_modalities, modality_of
from smalti.priors import TokenPrior
from smalti.reporting import Measurement

if TYPE_CHECKING:
    from smalti.generation import Model

__all__ = ["evaluate", "report_file_pattern", "measurements_of"]


def evaluate(
    model: Model,
    splits: Splits,
    histogram: TokenPrior | None = None,
    *,
    measurements: Sequence[Measurement] | None = None,
    curves: Mapping[str, Path | Sequence[Path]] | None = None,
    limits: Limits | None = None,
    seed: int = 0,
    title: str = "What was learned",
) -> Report:
    """Measures a model on the test set of its data, and returns the report.

    Arguments:
        model: A model of tokens, with a prior if it has one, or a model of latent vectors.
        splits: The data that it was learned from.
        histogram: The prior "histogram", fitted to the token grids of the training split.
        measurements: The measurements to take, in order; default: `measurements_of(splits)`.
        curves: For each stage, the `metrics.csv` files of Lightning's CSV logger, oldest first;
            their plots come last in the report.
        limits: The numbers of examples, samples and steps; default: `Limits()`.
        seed: Seed of every draw.
        title: Title of the report.

    Returns:
        The report; its `save` writes it. What could not be measured is in `missing`; if an error in
        the program was the reason, in `failed` too.

    Raises:
        InputError: If the data are not what the model was trained on.
    """
    chosen = [*(measurements_of(splits) if measurements is None else measurements)]
    run = getattr(model, "run", None)
    if measurements is None and run is not None and run.features.exists():
        chosen.append(FeatureDistance())
    chosen.append(TrainingCurves(curves))
    subject = EvaluationContext(model, splits, histogram, limits or Limits(), seed, chosen)
    check_same_signal(subject.autoencoder.signal, splits)
    report = Report(title)
    for measurement in chosen:
        with measurement_mode(seed, subject.autoencoder, subject.prior, histogram):
            give_back()
            report.take(measurement, subject)
    return report


def measurements_of(splits: Splits) -> list[Measurement]:
    """Lists the measurements for a data set: those of any model, of its modality, of its source."""
    return [*MEASUREMENTS, *modality_of(splits.signal).measurements(), *splits.measurements]


def report_file_pattern() -> re.Pattern[str]:
    """Returns the pattern of all file names that a report may write beside its page.

    Example:
        >>> bool(report_file_pattern().fullmatch("samples-prior.png"))
        True
    """
    known = [*MEASUREMENTS, TrainingCurves(), *synthetic.MEASUREMENTS]
    for room in import_modalities():
        known += room.modality().measurements()
    return re.compile(rf"({'|'.join(m.file_names for m in known if m.file_names)})\.\w+")
