"""Shows samples of each label, one row per label."""

from __future__ import annotations

from typing import ClassVar

import torch

from smalti.conditions import Label
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.reporting import Block, Listing, Measurement, Section

__all__ = ["SamplesOfLabels"]

LABELS, PER_LABEL = 12, 10  # labels shown at most, and samples of each


class SamplesOfLabels(Measurement[EvaluationContext]):
    """Shows samples of a prior that is conditional on a label, one row per label."""

    key: ClassVar[str] = "labels"
    title: ClassVar[str] = "Samples of each label"
    chapter: ClassVar[str] = "Samples"
    file_names: ClassVar[str] = r"labels-\d+"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        conditional = subject.prior is not None and subject.prior.condition is not None
        if not conditional or not isinstance(subject.splits.condition, Label):
            return "there is no prior conditional on a label."
        return None

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        prior, section = subject.prior, self.section()
        assert prior is not None
        condition = subject.splits.condition
        assert isinstance(condition, Label)
        values = torch.linspace(0, condition.dim - 1, min(LABELS, condition.dim)).round().long()
        asked = values.repeat_interleave(PER_LABEL)
        signals = torch.cat(list(subject.decoded(subject.drawn(prior, len(asked), asked))))
        names = {str(value): condition.format(value) for value in values.tolist()}
        rows: dict[str, Block] = {
            name: subject.modality.render(
                row, f"Samples of {names[name]}", PER_LABEL, subject.splits.signal
            )
            for name, row in zip(names, signals.split(PER_LABEL), strict=True)
        }
        section.blocks["labels"] = Listing(rows, names)
        return section
