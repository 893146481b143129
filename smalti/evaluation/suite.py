"""The whole evaluation of a model, from its tokenizer, its prior and the data it was learned from, to one report.

    test images ─▶ tokenizer ─▶ reconstructions          MSE, PSNR, SSIM          (reconstruction)
                       └──────▶ tokens                   usage, perplexity        (codebook)
                                  └─ under each prior    nats, bits               (rate)
    each prior ─▶ tokens ─▶ decoder ─▶ samples           Fréchet distance, labels (fidelity, inception)
                                                         clocks read back         (clocks)

Everything is measured on the test split, in evaluation mode, without gradients, and with draws that depend on the seed alone.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.data import Batch, Label, Splits, TimeOfDay
from smalti.evaluation.batches import batches, choose
from smalti.evaluation.classifier import train_classifier
from smalti.evaluation.clock_reader import ClockReader
from smalti.evaluation.clocks import TOLERANCE, asked_times, framed, minutes_off
from smalti.evaluation.codebook import codebook_figures, codeword_counts
from smalti.evaluation.curves import plot_curves, plot_usage, read_curves
from smalti.evaluation.fidelity import features_of, frechet_distance, gaussian
from smalti.evaluation.figures import figure
from smalti.evaluation.inception import (
    inception_distances,
    inception_features,
    load_inception,
)
from smalti.evaluation.rate import rate_figures
from smalti.evaluation.reconstruction import WINDOW, ReconstructionQuality
from smalti.evaluation.report import Picture, Report
from smalti.evaluation.sampling import decoded, device_of, drawn, schemes
from smalti.generation import Model
from smalti.pictures import VISIBLE, grid
from smalti.priors import Prior, TractablePrior

__all__ = ["Limits", "evaluate"]

logger = logging.getLogger(__name__)

PAIRS, STRIP, STRIPS, CLOCKS = 24, 10, 12, 500


@dataclass(frozen=True)
class Limits:
    """How much is measured.

    Args:
        test: Test examples at most; all where not given.
        samples: Samples of each scheme for distances between sets.
        classifier_steps: Training steps of the classifier; 0 for no classifier and what needs it.
        shown: Samples of each scheme in the report.
        batch_size: Images at a time.
        inception: Whether FID and KID are computed where the weights of Inception are there.
    """

    test: int | None = 10_000
    samples: int = 2000
    classifier_steps: int = 1500
    shown: int = 36
    batch_size: int = 250
    inception: bool = True


def evaluate(
    model: Model,
    splits: Splits,
    histogram: Prior | None = None,
    *,
    curves: Mapping[str, Path | Sequence[Path]] | None = None,
    limits: Limits | None = None,
    seed: int = 0,
    title: str = "What was learned",
) -> Report:
    """Measures a model and gathers pictures of what it does.

    Arguments:
        model: The tokenizer, and the prior if there is one; without it only the tokenizer is measured.
        splits: The data that it was learned from.
        histogram: A histogram fitted to the token grids of the training split, for the scheme of that name.
        curves: Of each stage, the `metrics.csv` files of Lightning's CSV logger in the order of the starts.
        limits: How much is measured.
        seed: Of every draw.
        title: Of the report.

    Returns:
        The report; `save` writes it.

    Raises:
        InputError: If the data are not what the model was trained on.
    """
    evaluation = _Evaluation(model, splits, histogram, limits or Limits(), seed, Report(title))
    with _evaluation_mode(model.tokenizer, model.prior, histogram), torch.no_grad():
        evaluation.describe()
        evaluation.reconstructions()
        evaluation.codebook()
        if model.prior is None:
            evaluation.report.missing["Samples"] = "there is no prior."
            evaluation.report.missing["Rate"] = "there is no prior."
        else:
            evaluation.rate()
            evaluation.samples()
        evaluation.labels()
        evaluation.inception()
        evaluation.clocks()
        evaluation.curves(curves or {})
    return evaluation.report


@dataclass
class _Evaluation:
    """The measurements, in their order, and what they share."""

    model: Model
    splits: Splits
    histogram: Prior | None
    limits: Limits
    seed: int
    report: Report

    def __post_init__(self) -> None:
        self.tokenizer, self.prior = self.model.tokenizer, self.model.prior
        self.device = device_of(self.tokenizer)
        self.schemes = schemes(self.prior, self.histogram)
        self.test = choose(self.splits.test, self.limits.test, self.seed)
        self.set = f"test set, N = {_number(len(self.test))}"
        if len(self.test) < len(self.splits.test):
            self.set += f" of {_number(len(self.splits.test))}, drawn at random"

    # Shared material

    def batches(self, chosen: Sequence[int], split: str = "test") -> Iterator[Batch]:
        examples = getattr(self.splits, split)
        return batches(examples, chosen, self.limits.batch_size, self.device)

    def decoded(self, indices: Tensor) -> Iterator[Tensor]:
        return decoded(self.tokenizer, indices, self.limits.batch_size)

    def drawn(self, prior: Prior, n: int, context: Tensor | None) -> Tensor:
        """n grids of a prior; the same call draws the same grids."""
        generator = torch.Generator(self.device).manual_seed(self.seed)
        return drawn(prior, n, context, generator, self.limits.batch_size)

    @cached_property
    def compared(self) -> int:
        """N of every set that is compared with the test set, the same for all."""
        return min(self.limits.samples, len(self.test), len(self.splits.train))

    @cached_property
    def order(self) -> Tensor:
        """A random order of the test examples that are measured."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(len(self.test), generator=generator)

    def contexts(self, n: int) -> Tensor | None:
        """n conditions, as they occur in the test set."""
        if self.conditions is None:
            return None
        repeats = math.ceil(n / len(self.order))
        return self.conditions[self.order.repeat(repeats)[:n]]

    @cached_property
    def sampled(self) -> dict[str, Tensor]:
        """The token grids of every scheme: as many as are compared with the test set, if they are."""
        needed = self.limits.shown
        if self.classifier is not None or not isinstance(self.inception_network, str):
            needed = max(needed, self.compared)
        context = self.contexts(needed)
        grids = {}
        for name, prior in self.schemes.items():
            logger.info("evaluation: %d samples of the scheme %s", needed, name)
            grids[name] = self.drawn(prior, needed, context)
        return grids

    @cached_property
    def classifier(self):  # noqa: ANN202
        if not isinstance(self.splits.condition, Label) or not self.limits.classifier_steps:
            return None
        logger.info("evaluation: training the classifier")
        with torch.enable_grad():
            return train_classifier(
                self.splits, self.limits.classifier_steps, self.seed, self.device
            )

    @cached_property
    def inception_network(self):  # noqa: ANN202
        if not self.limits.inception:
            return "it was switched off."
        network = load_inception()
        return network if isinstance(network, str) else network.to(self.device)

    def compared_images(self) -> dict[str, Iterator[Tensor]]:
        """What is compared with the test set: `compared` images of each kind, in batches."""
        train = choose(self.splits.train, self.compared, self.seed)
        reconstructed = self.indices[self.order[: self.compared]]
        return {
            "train": (batch.x for batch in self.batches(train, "train")),
            "reconstructions": self.decoded(reconstructed),
            **{
                name: self.decoded(grids[: self.compared]) for name, grids in self.sampled.items()
            },
        }
