"""Samples at several temperatures, top-p and guidance scales: fidelity against diversity.

Temperature 1 draws from the prior as it was learned. Below 1, or with top-p, samples are clearer
and vary less; so do samples with classifier-free guidance above 1, which follow the condition more
closely. Which is best depends on the prior, so all are shown, and measured on fewer samples.
"""

from __future__ import annotations

import logging
from typing import ClassVar

import torch
from torch import Tensor

from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.evaluation.measurements.frechet import fit_gaussian, frechet_distance
from smalti.evaluation.measurements.precision_recall import (
    NEIGHBOURS,
    neighbourhood_figures,
    neighbourhood_words,
)
from smalti.evaluation.neighbourhoods import compare_neighbourhoods
from smalti.priors import SamplingConfig
from smalti.reporting import Block, Figure, Listing, SampleComparison, Section, Table, Text, figure
from smalti.reporting.figures import number, protocols

__all__ = ["SamplingOptions"]

logger = logging.getLogger(__name__)

OPTIONS = {
    "temperature-0.7": SamplingConfig(temperature=0.7),
    "temperature-0.85": SamplingConfig(temperature=0.85),
    "temperature-1": SamplingConfig(),
    "top_p-0.9": SamplingConfig(top_p=0.9),
    "guidance-1.5": SamplingConfig(guidance=1.5),
    "guidance-3": SamplingConfig(guidance=3.0),
}
LEFT_OUT = {
    "temperature": "Samples at other temperatures",
    "top_p": "Samples with top-p",
    "guidance": "Samples with guidance",
}
SHARE, LEAST, MEASURED = 4, 100, 250  # a quarter of the samples of a prior, in these bounds
INDICES = 2**15  # most indices that are drawn for each option, where signals have many


class SamplingOptions(SampleComparison[EvaluationContext]):
    """Shows and measures samples of the learned prior at several temperatures and guidances."""

    key: ClassVar[str] = "sampling"
    title: ClassVar[str] = "Samples at several temperatures and guidances"
    chapter: ClassVar[str] = "Samples"
    file_names: ClassVar[str] = r"sampling-(temperature|top_p|guidance)-[\d.]+"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        return None if subject.kinds else "no prior was learned."

    def compares(self, subject: EvaluationContext) -> bool:
        """See `SampleComparison.compares`."""
        return subject.can_compare

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        section = self.section()
        logger.info("sampling at several temperatures and guidances")
        n, shown = _measured(subject), subject.in_a_row
        rows: dict[str, Block] = {}
        for name, config in OPTIONS.items():
            option, _, value = name.partition("-")
            with section.attempt(LEFT_OUT[option], name):
                latents = _drawn(subject, config, max(n, shown))
                row = torch.cat(list(subject.decoded(latents[:shown])))
                title = f"{option.replace('_', '-')} {value}"
                rows[name] = subject.modality.render(
                    row, f"Samples at {title}", shown, subject.splits.signal
                )
                if n:
                    section.figures[name] = _figures(subject, latents[:n])
        names = {name: " ".join(name.replace("_", "-").rsplit("-", 1)) for name in rows}
        section.blocks["introduction"] = Text(
            "Each row shows the same conditions, if any. Below temperature 1, from the likeliest "
            "indices alone (top-p) and with guidance above 1, samples are clearer and vary less: "
            "smalti sample takes all three."
        )
        section.blocks["sampling"] = Listing(rows, names)
        if section.figures:
            section.blocks["table"] = Table(
                ("Samples", "Fréchet distance", "Precision", "Recall", "Density", "Coverage"),
                {names[name]: [*of.values()] for name, of in section.figures.items()},
                names.get("temperature-1"),
                protocols(section.figures),
            )
        return section


def _measured(subject: EvaluationContext) -> int:
    """Returns how many samples of each option are measured; 0 for none.

    It depends on sizes alone and not on time, so that a report can be made again.
    """
    if not subject.can_compare:
        return 0
    indices = subject.sampled("prior")[0].numel()
    wanted = min(max(subject.compared // SHARE, LEAST), MEASURED, max(1, INDICES // indices))
    n = min(subject.compared, wanted)
    return n if n > NEIGHBOURS else 0


def _drawn(subject: EvaluationContext, config: SamplingConfig, n: int) -> Tensor:
    """Returns latents of n samples; with default options those of the other measurements."""
    if not config.chosen():
        return subject.sampled("prior")[:n]
    return subject.drawn(subject.sampler, n, subject.contexts, config)


def _figures(subject: EvaluationContext, latents: Tensor) -> dict[str, Figure]:
    """Measures samples: the distance against all test examples, the rest against as many."""
    space, n = subject.feature_space, len(latents)
    features = torch.cat([space.features(x).cpu() for x in subject.decoded(latents)])
    against = f"N = {number(n)} samples of each line, against"
    protocol = (
        f"{against} the {subject.test_set}; squared distance of Gaussians fitted to {space.words}; "
        f"a small N biases it upwards, so that lines are compared with each other alone"
    )
    distance = frechet_distance(fit_gaussian(features), fit_gaussian(subject.test_features))
    found = compare_neighbourhoods(subject.test_features[subject.order[:n]], features, NEIGHBOURS)
    as_many = f"{against} as many of the {subject.test_set}; {neighbourhood_words(space)}"
    return {
        "frechet": figure(distance, "", protocol),
        **neighbourhood_figures(found, as_many),
    }
