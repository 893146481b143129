"""The distance of reconstructions to their originals in the features of the run's network.

Squared errors reward blur: of what cannot be known, the mean is the safest guess. In the features
of a network a blurred signal is far from a sharp one. Which network that is says the report, for
the distance depends on it: by default a small one that was trained on the data of the run without
labels, so that figures of two data sets, or of two networks, cannot be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from smalti.artifacts import load_model
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.evaluation.features import describe_network
from smalti.losses import feature_distance
from smalti.networks import FeatureNetwork
from smalti.reporting import Card, FigureTable, Measurement, Section, Text, display, figure

__all__ = ["FeatureDistance"]


class FeatureDistance(Measurement[EvaluationContext]):
    """Measures reconstructions in the features of a run's network, which `features` of it holds."""

    key: ClassVar[str] = "feature_distance"
    title: ClassVar[str] = "Reconstructions in the features of a network"
    chapter: ClassVar[str] = "Reconstructions"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        if subject.run is None or not subject.run.features.exists():
            return "the run has no network of features."
        return None

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        section, plural = self.section(), subject.splits.signal.plural
        run = subject.run
        assert run is not None, "it applies"
        network = load_model(run.features).to(subject.device)
        origin = describe_network(network, run.read_config(), plural)
        protocol = (
            f"{subject.test_set}; squared distance of the features of each position, of length 1, "
            f"mean over positions, layers and {plural}; {origin}"
        )
        through, others = _distances(network, subject)
        section.figures["reconstructions"] = figure(through.mean().item(), "", protocol)
        rows = {"Reconstruction and original": section.figures["reconstructions"]}
        hint = ""
        if len(others):
            section.figures["others"] = figure(others.mean().item(), "", protocol)
            rows["Two different originals"] = section.figures["others"]
            hint = f"{display(section.figures['others'])} of two different {plural}"
        words = "Feature distance of reconstructions"
        section.cards.append(Card(section.figures["reconstructions"], words, hint))
        section.facts["Network of features"] = origin
        section.blocks["introduction"] = Text(
            f"How far reconstructions are from their originals in the features of a network: "
            f"{origin}. 0 is equal. Sharp {plural} of the wrong detail may be near in it, and "
            f"blurred ones far, where the mean squared error says the opposite. It is not LPIPS, "
            f"and can be compared only where the same network measured the same {plural}."
        )
        section.blocks["table"] = FigureTable(rows)
        return section


@torch.no_grad()
def _distances(network: FeatureNetwork, subject: EvaluationContext) -> tuple[Tensor, Tensor]:
    """Returns the distances to reconstructions (N,), and to other examples of the batch."""
    through, others = [], []
    reconstructed = subject.reconstructed(torch.arange(len(subject.test)))
    for x, x_hat in zip(_seen(subject, subject.test_batches()), reconstructed, strict=True):
        of_x = network(x)
        y = subject.autoencoder.normalize(x_hat.to(x.device)).nan_to_num(nan=0.0)
        through.append(feature_distance(network(y), of_x).cpu())
        if len(x) > 1:
            others.append(feature_distance([maps.roll(1, 0) for maps in of_x], of_x).cpu())
    return torch.cat(through), torch.cat(others) if others else torch.empty(0)


def _seen(subject: EvaluationContext, batches: Iterator[Tensor]) -> Iterator[Tensor]:
    """Yields signals as the network was trained on them: normalized, 0 where a value is missing."""
    return (subject.autoencoder.normalize(x).nan_to_num(nan=0.0) for x in batches)
