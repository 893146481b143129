"""Discriminators: networks that tell signals from their reconstructions.

    D: x (B, C, *size) → scores, high where x looks like a signal, low where like a reconstruction

A discriminator may judge at several places and at several scales: its scores are a tuple of maps,
one for each scale. Its inner features can be compared, too (feature matching).

References:
    Image-to-Image Translation with Conditional Adversarial Networks, P. Isola et al., 2017, arXiv
    1611.07004, section 3.2.2, on scores of patches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from torch import Tensor, nn

from smalti.errors import InputError
from smalti.nn import conv_layers, group_norm
from smalti.registry import registered
from smalti.signals import Signal

__all__ = ["Discriminator", "Discriminators", "PatchDiscriminator", "Verdict"]


class Verdict(NamedTuple):
    """What a discriminator says of a batch of signals.

    Attributes:
        scores: For each scale a map of scores (B, …), unbounded.
        features: The features of inner layers, (B, …) each, of which it made them.
    """

    scores: tuple[Tensor, ...]
    features: tuple[Tensor, ...]

    @classmethod
    def joined(cls, verdicts: Iterable[Verdict]) -> Verdict:
        """Joins the scales of several verdicts to one."""
        scores, features = zip(*verdicts, strict=True)
        return cls(tuple(chain(*scores)), tuple(chain(*features)))


class Discriminator(nn.Module, ABC):
    """Abstract: judges signals x (B, C, *size). It is made of a `Signal`, as encoders are."""

    @abstractmethod
    def forward(self, x: Tensor) -> Verdict:
        """Returns scores and inner features of x (B, C, *size)."""


@registered
class PatchDiscriminator(Discriminator):
    """PatchGAN's discriminator: convolutions whose every output judges one patch of the signal.

    Layers of stride 2 double the channels, up to eight times as many. Values are normalized in
    groups of channels, not over the batch, so that the score of a signal depends on no other.

    Arguments:
        signal: What it judges, with a grid of one or two dimensions.
        hidden: Channels of the first layer.
        layers: Layers of stride 2. Three see patches of 62 positions along each dimension.

    Raises:
        InputError: If signals have no such grid, or are too small for so many layers.

    Example:
        >>> import torch
        >>> from smalti.networks import Features
        >>> judge = PatchDiscriminator(Features(3), hidden=8, layers=2)
        >>> judge(torch.zeros(2, 3, 16, 24)).scores[0].shape
        torch.Size([2, 1, 4, 6])
    """

    def __init__(self, signal: Signal, *, hidden: int = 64, layers: int = 3) -> None:
        super().__init__()
        convolution = conv_layers(signal.spatial_dims).convolution
        if signal.size and min(signal.size) < 2**layers:
            raise InputError(
                f"A PatchDiscriminator with {layers} layers halves the size as often, got "
                f"{signal.plural} of {min(signal.size)}: set its layers to less."
            )
        widths = [hidden * min(2**layer, 8) for layer in range(layers + 1)]
        self.blocks = nn.ModuleList()
        before = signal.channels
        for layer, width in enumerate(widths):
            last = layer == layers
            kernel = 3 if last else 4
            block = nn.Sequential(
                convolution(before, width, kernel, stride=1 if last else 2, padding=1)
            )
            if layer:
                block.append(group_norm(width))
            block.append(nn.LeakyReLU(0.2))
            self.blocks.append(block)
            before = width
        self.score = convolution(before, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Verdict:
        """Returns the scores (B, 1, *patches), and the features of each layer."""
        features = []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        return Verdict((self.score(x),), tuple(features))


class Discriminators(Discriminator):
    """Several discriminators as one, whose scales are those of all.

    Arguments:
        signal: What they judge.
        members: Makes each of them.

    Raises:
        InputError: If there are none.

    Example:
        >>> import torch
        >>> from smalti.networks import Features, MultiPeriodDiscriminator
        >>> signal = Features(1, spatial_dims=1)
        >>> both = Discriminators(signal, [PatchDiscriminator, MultiPeriodDiscriminator])
        >>> len(both(torch.zeros(1, 1, 64)).scores)
        6
    """

    def __init__(
        self, signal: Signal, members: Sequence[Callable[[Signal], Discriminator]]
    ) -> None:
        super().__init__()
        if not members:
            raise InputError("Discriminators join at least one, got none: name the members.")
        self.members = nn.ModuleList(make(signal) for make in members)

    def forward(self, x: Tensor) -> Verdict:
        """Returns the scores and the inner features of all."""
        return Verdict.joined(member(x) for member in self.members)
