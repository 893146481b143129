"""Tiny models and data of real classes, for tests of the evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from smalti.autoencoders import DiscreteAutoencoder
from smalti.conditions import Condition, Label, TimeOfDay
from smalti.data import Batch, Examples, Splits
from smalti.generation import Model
from smalti.losses.likelihoods import Likelihood
from smalti.modalities.image import Image
from smalti.networks import ConvDecoder, ConvEncoder, Features
from smalti.priors import Histogram, PixelCNN
from smalti.quantizers import EMACodebook, VectorQuantizer

__all__ = ["LABELS", "Given", "K", "Stripes", "tiny_histogram", "tiny_model", "tiny_splits"]

K = 8


class Stripes(Examples):
    """Noisy images that are light on the left (class 0), on the right (1), or everywhere (2)."""

    def __init__(self, n: int, side: int, condition: Condition | None, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.x = 0.2 * torch.rand(n, 1, side, side, generator=generator) - 1
        kind = torch.arange(n) % 3
        self.x[kind != 1, :, :, : side // 2] += 1.7
        self.x[kind != 0, :, :, side // 2 :] += 1.7
        times = (torch.arange(n) * 37 % 720).float()
        self.values = times if isinstance(condition, TimeOfDay) else kind if condition else None

    def __len__(self) -> int:
        return len(self.x)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return Batch(self.x[list(indices)], self.conditions_at(indices))

    def conditions_at(self, indices: Sequence[int]) -> Tensor | None:
        return None if self.values is None else self.values[list(indices)]


class Given(Stripes):
    """These images with these values."""

    def __init__(self, x: Tensor, values: Tensor | None = None) -> None:
        self.x, self.values = x, values


def tiny_splits(condition: Condition | None = None, side: int = 16, test: int = 24) -> Splits:
    """48 training, 12 validation and `test` test images."""
    sizes = {"train": 48, "validation": 12, "test": test}
    examples = {
        name: Stripes(n, side, condition, seed) for seed, (name, n) in enumerate(sizes.items())
    }
    return Splits(**examples, signal=Image(1, (side, side)), condition=condition, augment=None)


def tiny_model(
    condition: Condition | None = None,
    side: int = 16,
    prior: bool = True,
    likelihood: Likelihood | None = None,
) -> Model:
    """An untrained tokenizer of 4 px per token, and an untrained PixelCNN."""
    torch.manual_seed(0)
    codebook = EMACodebook(codebook_size=K, dim=4)
    tokenizer = DiscreteAutoencoder(
        ConvEncoder(Features(1), 4, hidden=8, residual_hidden=4),
        VectorQuantizer(codebook),
        ConvDecoder(
            Features(likelihood.channels(1) if likelihood else 1), 4, hidden=8, residual_hidden=4
        ),
        Image(1, (side, side)),
        likelihood,
    )
    learned = PixelCNN(K, tokenizer.grid, condition, hidden=8, layers=2) if prior else None
    return Model(tokenizer.eval(), learned and learned.eval())


def tiny_histogram(model: Model, splits: Splits, condition: Condition | None = None) -> Histogram:
    """Fitted to the training images."""
    x, context = splits.train.__getitems__(range(len(splits.train)))
    histogram = Histogram(K, model.autoencoder.grid, condition)
    histogram.fit(model.autoencoder.encode(x), context if condition is not None else None)
    return histogram


LABELS = Label(["left", "within_tolerance", "both"])
