"""Conditional accuracy: whether a classifier sees in samples the label they were asked for."""

from __future__ import annotations

from typing import ClassVar

from smalti.errors import InputError
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.reporting import Card, Measurement, Section, Table, display, figure
from smalti.reporting.figures import number, protocols

__all__ = ["Accuracy"]


class Accuracy(Measurement[EvaluationContext]):
    """Measures the share of signals that the classifier gives the label they should have."""

    key: ClassVar[str] = "conditional_accuracy"
    title: ClassVar[str] = "Accuracy of the classifier"
    chapter: ClassVar[str] = "Samples"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        try:
            assert subject.classifier is not None
        except InputError as error:
            return f"there is no classifier: {error}"
        return None

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        section, n, contexts = self.section(), subject.compared, subject.contexts
        plural, classifier = subject.splits.signal.plural, subject.classifier
        if contexts is None:
            raise InputError(f"The test {plural} have no labels: give them some.")
        trained = (
            f"classifier trained on the training split for {subject.limits.classifier_steps} steps"
        )
        test = classifier.accuracy(subject.batches(subject.splits.test, subject.test))
        section.figures["test"] = figure(test, "share", f"{trained}; {subject.test_set}")
        sets = subject.sets()
        for name in ("reconstructions", *subject.conditional):
            with section.attempt(f"Accuracy of the classifier on {subject.words[name]}", name):
                features = subject.features(name, sets[name])
                # contexts[:n] are also the labels of the reconstructions: both in the same order.
                said = classifier.head(features.to(subject.device)).argmax(1).cpu()
                section.figures[name] = figure(
                    (said == contexts[:n]).double().mean().item(),
                    "share",
                    f"{trained}; N = {number(n)} of each line, labels as frequent as in the test "
                    f"set",
                )
        if not subject.conditional:
            section.leave_out(
                "Accuracy of a classifier on conditional samples",
                "there is no prior conditional on the label.",
            )
        found = section.figures
        if "prior" in found:
            hint = f"{display(found['test'])} of test {plural} do, for the same classifier"
            section.cards.append(Card(found["prior"], "of samples show their label", hint))
        section.blocks["table"] = Table(
            (plural.capitalize(), "Show their label"),
            {subject.titles[name]: [figure] for name, figure in found.items()},
            subject.titles["prior"],
            protocols(found),
        )
        return section
