"""Shows the training examples nearest to samples: is the prior generating, or memorising?

Distances are Euclidean, in the features that sets are compared in. Two figures tell memorisation.
Memorised samples are much nearer to training examples than test examples are. And a sample with
the tokens of a training example is its reconstruction, value for value; where latents are vectors,
a sample is compared with the reconstruction of its nearest example.
"""

from __future__ import annotations

import logging
from typing import ClassVar

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.evaluation.batches import choose_examples
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.evaluation.neighbourhoods import find_nearest
from smalti.priors import Histogram
from smalti.reporting import (
    Block,
    Figure,
    FigureTable,
    Listing,
    SampleComparison,
    Section,
    Text,
    figure,
)
from smalti.reporting.figures import number

__all__ = ["NearestExamples"]

logger = logging.getLogger(__name__)

SEARCHED, PER_SAMPLE = 60_000, 40  # most training examples, in all and for each sample
EQUAL = 1e-4  # largest difference of equal values, of their range
ROWS = {"samples": "Samples", "training": "Nearest"}


class NearestExamples(SampleComparison[EvaluationContext]):
    """Finds the training examples nearest to samples, and samples that are training examples."""

    key: ClassVar[str] = "nearest"
    title: ClassVar[str] = "Nearest training examples"
    chapter: ClassVar[str] = "Samples"
    file_names: ClassVar[str] = r"nearest-(samples|training)"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        return None if subject.kinds else "no prior was learned."

    def compares(self, subject: EvaluationContext) -> bool:
        """See `SampleComparison.compares`."""
        return subject.can_compare

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        section, plural = self.section(), subject.splits.signal.plural
        if subject.tokenizer is not None:
            with section.attempt(f"Samples that are training {plural}", "remembered"):
                section.figures["remembered"] = _remembered(subject)
        with section.attempt(f"Training {plural} nearest to samples", "distance"):
            _search(subject, section)
        names = {
            "remembered": f"Samples with the tokens of a training {subject.splits.signal.noun}",
            "equal": f"Samples shown that are the reconstruction of the {plural} below them",
            "samples": f"From a sample to the nearest training {subject.splits.signal.noun}",
            "test": f"From a test {subject.splits.signal.noun} to the nearest",
        }
        flat = {**section.figures, **section.figures.get("distance", {})}
        if shown := {names[name]: flat[name] for name in names if name in flat}:
            section.blocks["figures"] = FigureTable(shown)
        return section


def _remembered(subject: EvaluationContext) -> Figure:
    """Returns the share of samples whose tokens are those of a training example."""
    histogram, plural = subject.priors.get("histogram"), subject.splits.signal.plural
    if not isinstance(histogram, Histogram):
        raise InputError(f"the tokens of the training {plural} are not there.")
    tokens = subject.sampled("prior")
    seen = histogram.has_seen(tokens)
    protocol = (
        f"N = {number(len(tokens))} samples, whose tokens are compared with those of "
        f"{number(len(histogram.grids))} training {plural}: equal tokens are the reconstruction "
        f"of that {subject.splits.signal.noun}, value for value"
    )
    return figure(seen.double().mean().item(), "share", protocol)


def _search(subject: EvaluationContext, section: Section) -> None:
    """Finds the nearest training examples of samples and test examples, and shows some."""
    splits, space, signal = subject.splits, subject.feature_space, subject.splits.signal
    logger.info("looking for the training %s nearest to samples", signal.plural)
    n, shown = subject.compared, subject.in_a_row
    chosen = choose_examples(splits.train, min(SEARCHED, PER_SAMPLE * n), subject.seed)
    samples = subject.features("prior", subject.sets()["prior"])
    test = subject.test_features[subject.order[:n]]
    parts = (space.features(batch.x).cpu() for batch in subject.batches(splits.train, chosen))
    nearest, distances = find_nearest(torch.cat([samples, test]), parts)
    drawn = ""
    if len(chosen) < len(splits.train):
        endless = splits.train.endless
        drawn = (
            " of endless ones" if endless else f" of {number(len(splits.train))}, drawn at random"
        )
    protocol = (
        f"median of N = {number(n)}, among {number(len(chosen))} training {signal.plural}{drawn}; "
        f"Euclidean distance of {space.words}"
    )
    section.figures["distance"] = {
        "samples": figure(distances[: len(samples)].median().item(), "", protocol),
        "test": figure(distances[len(samples) :].median().item(), "", protocol),
    }
    x = torch.cat(list(subject.decoded(subject.sampled("prior")[:shown])))
    numbers = [chosen[i] for i in nearest[: len(x)].tolist()]
    found = splits.train.__getitems__(numbers).x.to(subject.device)
    if subject.tokenizer is None:
        section.figures["equal"] = _equal(subject, x, found)
    rows: dict[str, Block] = {}
    for name, row in (("samples", x), ("training", found)):
        caption = f"{ROWS[name]} {signal.plural}"
        rows[name] = subject.modality.render(row, caption, shown, signal)
    section.blocks["introduction"] = Text(
        f"Samples of the learned prior, and below each the training {signal.noun} that is nearest "
        f"to it in {space.place}. A prior that remembers draws samples that are nearer to training "
        f"{signal.plural} than test {signal.plural} are; and one whose tokens are those of a "
        f"training {signal.noun} is its reconstruction, and nothing new."
    )
    section.blocks["nearest"] = Listing(rows, ROWS)


def _equal(subject: EvaluationContext, x: Tensor, found: Tensor) -> Figure:
    """Returns the share of samples x that are the reconstruction of the examples found."""
    made = subject.decode(subject.encode(found)).nan_to_num()
    within = EQUAL * float(made.max() - made.min())
    equal = ((x.nan_to_num() - made).abs() <= within).flatten(1).all(1)
    protocol = (
        f"N = {number(len(x))} samples, each compared with the reconstruction of the training "
        f"{subject.splits.signal.noun} nearest to it; equal up to {EQUAL:g} of the range"
    )
    return figure(equal.double().mean().item(), "share", protocol)
