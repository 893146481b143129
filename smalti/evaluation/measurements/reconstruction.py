"""The quality of reconstructions of the test set, and some of them to look at."""

from __future__ import annotations

from typing import ClassVar

import torch

from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.reporting import Card, Figure, FigureTable, Measurement, Section, Text

__all__ = ["Reconstructions"]

SHOWN = 24


class Reconstructions(Measurement[EvaluationContext]):
    """Measures reconstructions by the modality's metrics, and shows some beside their originals."""

    key: ClassVar[str] = "reconstruction"
    title: ClassVar[str] = "Reconstructions"
    chapter: ClassVar[str] = "Reconstructions"
    file_names: ClassVar[str] = r"reconstructions"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        return None

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        section, plural = self.section(), subject.splits.signal.plural
        through = "latents" if subject.tokenizer is None else "tokens"
        section.blocks["introduction"] = Text(
            f"{plural.capitalize()} that no part of the model was trained on, and what is left of "
            f"them after they went through the {through}."
        )
        with section.attempt("Picture of reconstructions"):
            shown = subject.order[:SHOWN]
            x = subject.test_examples(shown)
            x_hat = torch.cat(list(subject.reconstructed(shown)))
            section.blocks["reconstructions"] = subject.modality.compare(
                x,
                x_hat,
                f"Pairs of test {plural} drawn at random: {subject.modality.paired}.",
                subject.splits.signal,
            )
        with section.attempt("Quality of reconstructions", ""):
            rows: dict[str, Figure] = {}
            for metric in subject.encoded.metrics:
                section.figures |= (measured := metric.figures(subject.test_set))
                rows |= {metric.names[key]: found for key, found in measured.items()}
                for key, (words, hint) in metric.cards.items():
                    if key in measured:
                        section.cards.append(Card(measured[key], words, hint))
                for key, why in metric.missing().items():
                    section.leave_out(metric.names[key], why, key)
            section.blocks["quality"] = FigureTable(rows)
        return section
