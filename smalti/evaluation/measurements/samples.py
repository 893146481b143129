"""Shows samples of each prior, and the samples with the highest likelihood."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from smalti.autoencoders import VariationalAutoencoder
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.priors import SamplingConfig
from smalti.reporting import Block, Measurement, Section, SideBySide, Text

__all__ = ["Samples"]

LIKELY = 0.8  # top_p of the samples shown beside those at temperature 1


class Samples(Measurement[EvaluationContext]):
    """Shows samples of all priors side by side."""

    key: ClassVar[str] = "samples"
    title: ClassVar[str] = "Samples"
    chapter: ClassVar[str] = "Samples"
    file_names: ClassVar[str] = r"samples-(prior|histogram|uniform)|likely"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        return None

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        section, shown = self.section(), subject.limits.shown
        if not subject.kinds:
            section.leave_out("Samples", "no prior was learned.")
            return section
        section.blocks["introduction"] = Text(
            "New latents through the decoder."
            if subject.tokenizer is None
            else "New token grids from three sources, through the same decoder. What differs is "
            "the prior alone."
        )
        blocks: dict[str, Block] = {}
        for kind in subject.kinds:
            with section.attempt(f"Picture of {subject.words[kind]}"):
                latents = subject.sampled(kind)[:shown]
                blocks[kind] = _rendered(subject, latents, _caption(kind, subject))
        titles = {kind: subject.titles[kind] for kind in blocks}
        section.blocks["samples"] = SideBySide(blocks, titles if len(blocks) > 1 else {})
        if subject.prior is not None:
            with section.attempt("Picture of likely samples"):
                likely = subject.drawn(
                    subject.prior, shown, subject.contexts, SamplingConfig(top_p=LIKELY)
                )
                section.blocks["likely"] = _rendered(
                    subject,
                    likely,
                    f"Samples of the learned prior from the likeliest {LIKELY:.0%} of each index's "
                    f"distribution (top_p): clearer, and less varied.",
                )
        return section


def _rendered(subject: EvaluationContext, latents: Tensor, caption: str) -> Block:
    signals = torch.cat(list(subject.decoded(latents)))
    block: Block = subject.modality.render(signals, caption, signal=subject.splits.signal)
    return block


def _caption(kind: str, subject: EvaluationContext) -> str:
    """Says which distribution a kind of samples is drawn from."""
    if subject.tokenizer is None:
        variational = isinstance(subject.autoencoder, VariationalAutoencoder)
        prior = (
            "N(0, I)"
            if variational
            else f"the Gaussian of the latents of training {subject.splits.signal.plural}"
        )
        return f"Latents drawn from {prior}."
    condition = subject.priors[kind].condition
    given = f", given a {condition.name} each" if condition else ""
    return {
        "uniform": "Every index equally likely.",
        "histogram": f"Token grids seen in training{given}: nothing new.",
        "prior": f"{type(subject.priors[kind]).__name__}, temperature 1{given}.",
    }[kind]
