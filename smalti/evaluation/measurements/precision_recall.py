"""Measures fidelity and diversity of samples: precision, recall, density and coverage.

A single distance does not tell a few kinds drawn perfectly from all kinds drawn badly. These four
do, see `smalti.evaluation.neighbourhoods`. There are as many reference examples as samples, so that
the figures can be compared with those of training examples, which a perfect generator would reach.
"""

from __future__ import annotations

from typing import Any, ClassVar

from smalti.errors import InputError
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.evaluation.features import FeatureSpace
from smalti.evaluation.neighbourhoods import (
    Neighbourhoods,
    compare_neighbourhoods,
    neighbour_radii,
)
from smalti.reporting import Card, Figure, SampleComparison, Section, Table, Text, display, figure
from smalti.reporting.figures import number, protocols

__all__ = ["NEIGHBOURS", "PrecisionRecall", "neighbourhood_figures", "neighbourhood_words"]

NEIGHBOURS = 5  # k, as in the paper on density and coverage


class PrecisionRecall(SampleComparison[EvaluationContext]):
    """Measures precision, recall, density and coverage of each set against test examples."""

    key: ClassVar[str] = "precision_recall"
    title: ClassVar[str] = "Precision, recall, density and coverage"
    chapter: ClassVar[str] = "Samples"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        return subject.without_samples

    def compares(self, subject: EvaluationContext) -> bool:
        """See `SampleComparison.compares`."""
        return subject.can_compare and subject.compared > NEIGHBOURS

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        section, n, plural = self.section(), subject.compared, subject.splits.signal.plural
        space = subject.feature_space
        if n <= NEIGHBOURS:
            raise InputError(
                f"it takes {NEIGHBOURS + 1} {plural} of each kind at least, for {NEIGHBOURS} "
                f"neighbours of each, got {n}."
            )
        reference = subject.test_features[subject.order[:n]]
        radii = neighbour_radii(reference, NEIGHBOURS)
        protocol = (
            f"N = {number(n)} {plural} of each line, against as many of the {subject.test_set}; "
            f"{neighbourhood_words(space)}"
        )
        for name, batches in subject.sets().items():
            with section.attempt(f"Precision and recall of {subject.words[name]}", name):
                features = subject.features(name, batches)
                found = compare_neighbourhoods(reference, features, NEIGHBOURS, radii)
                section.figures[name] = neighbourhood_figures(found, protocol)
        found_of = section.figures
        section.cards += _cards(found_of, plural)
        section.blocks["introduction"] = Text(
            f"Around each test {subject.splits.signal.noun} lies a ball, as wide as the way to its "
            f"{NEIGHBOURS}th nearest other one, in {space.place}. Precision is the share of those "
            f"of a line that lie in a ball; density in how many they lie, where 1 is as many as "
            f"real ones do and more is a crowd. Coverage is the share of balls with any of them in "
            f"it; recall the share of test {plural} in the balls around those of the line. So "
            f"precision and density say whether samples are like real {plural}, coverage and "
            f"recall whether every kind of them is there. Training {plural} show what a generator "
            f"that draws just like them would reach; reconstructions are of these same test "
            f"{plural}, each near its own. What is a mean of many kinds lies in many balls, too: "
            f"read all four. They can be compared within this report only."
        )
        section.blocks["table"] = Table(
            (plural.capitalize(), "Precision", "Recall", "Density", "Coverage"),
            {subject.titles[name]: [*of.values()] for name, of in found_of.items()},
            subject.titles["prior"],
            protocols(found_of),
        )
        return section


def neighbourhood_words(space: FeatureSpace) -> str:
    """Returns how neighbourhoods are measured, as a part of a protocol."""
    return f"k = {NEIGHBOURS} nearest neighbours, Euclidean distance of {space.words}"


def neighbourhood_figures(found: Neighbourhoods, protocol: str) -> dict[str, Figure]:
    """Returns precision, recall, density and coverage as figures, by these names."""
    return {
        name: figure(value, "" if name == "density" else "share", protocol)
        for name, value in found._asdict().items()
    }


def _cards(found: dict[str, Any], plural: str) -> list[Card]:
    """Returns density and coverage of samples for the top of the page."""
    if "prior" not in found:
        return []
    cards = []
    for name in ("density", "coverage"):
        there = "train" in found
        hint = f"{display(found['train'][name])} for training {plural}" if there else ""
        cards.append(Card(found["prior"][name], f"{name.capitalize()} of samples", hint))
    return cards
