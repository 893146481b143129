"""Shows samples of captions of the test set, one row per caption, after the real signal."""

from __future__ import annotations

from typing import ClassVar

import torch

from smalti.conditions import Caption
from smalti.evaluation.caption_samples import sample_from_captions
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.reporting import Block, Listing, Measurement, Section, Text
from smalti.spelling import readable

__all__ = ["SamplesOfCaptions"]

CAPTIONS, OF_EACH = 12, 9  # captions shown at most, and samples of each
CANDIDATES = 4


class SamplesOfCaptions(Measurement[EvaluationContext]):
    """Shows samples of a prior that takes captions, one row per caption of the test set."""

    key: ClassVar[str] = "captions"
    title: ClassVar[str] = "Samples of captions"
    chapter: ClassVar[str] = "Samples"
    file_names: ClassVar[str] = r"captions-\d+"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        return subject.without_captions

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        section, condition = self.section(), subject.splits.condition
        assert isinstance(condition, Caption) and subject.conditions is not None
        values, signal = subject.conditions, subject.splits.signal
        seen, chosen = set[tuple[int, ...]](), list[int]()
        for row in subject.order.tolist():  # of each caption one
            if (key := tuple(values[row].tolist())) not in seen and len(chosen) < CAPTIONS:
                seen.add(key)
                chosen.append(row)
        asked = values[chosen].repeat_interleave(OF_EACH, 0)
        candidates = 1 if subject.reranker is None else CANDIDATES
        tokens = sample_from_captions(subject, asked, candidates=candidates)
        samples = torch.cat(list(subject.decoded(tokens))).split(OF_EACH)
        real = subject.test_examples(torch.tensor(chosen))
        names = {str(n): readable(condition.format(values[row])) for n, row in enumerate(chosen)}
        rows: dict[str, Block] = {
            name: subject.modality.render(
                torch.cat([real[n : n + 1].to(samples[n]), samples[n]]),
                f"“{names[name]}”",
                OF_EACH + 1,
                signal,
            )
            for n, name in enumerate(names)
        }
        best = f", the best of {CANDIDATES} candidates each" if candidates > 1 else ""
        section.blocks["introduction"] = Text(
            f"Captions of the test set: first the {signal.noun} that has it, then samples{best}."
        )
        section.blocks["captions"] = Listing(rows, names)
        return section
