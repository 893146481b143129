"""Networks whose features are compared instead of values: of perceptual losses and distances.

    φ: x (B, C, *size) → features of several layers, (B, C_l, *size_l) each

Any network will do that was learned on data of the kind: one of a user's own, or the small
`ConvFeatures`, which a run trains on its own data without labels (`smalti.training`).

References:
    The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, R. Zhang et al., 2018,
    arXiv 1801.03924. Features learned without labels serve almost as well, it finds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise

from torch import Tensor, nn

from smalti.nn import conv_layers
from smalti.registry import registered
from smalti.signals import Signal

__all__ = ["ConvFeatures", "FeatureNetwork"]

WIDEST = 4  # times as many channels as in the first layer


class FeatureNetwork(nn.Module, ABC):
    """Abstract: gives the features of several layers. It is made of a `Signal`, as encoders are.

    One of a user's own brings its weights along, and is registered so that a run can keep it.
    """

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps x (B, C, *size) to features (B, C_l, *size_l) of each layer l."""


@registered
class ConvFeatures(FeatureNetwork):
    """A small convolutional network: two convolutions per layer, and half the size from each on.

    Arguments:
        signal: What it takes, with a grid of one or two dimensions; any size fits that can be
            halved so often.
        hidden: Channels of the first layer, which are doubled from layer to layer up to four times
            as many.
        layers: Number of layers, whose features are all given.

    Raises:
        InputError: If signals have no such grid.

    Example:
        >>> import torch
        >>> from smalti.networks import Features
        >>> network = ConvFeatures(Features(3), hidden=8, layers=3)
        >>> [tuple(maps.shape[1:]) for maps in network(torch.zeros(1, 3, 16, 16))]
        [(8, 16, 16), (16, 8, 8), (32, 4, 4)]
    """

    def __init__(self, signal: Signal, *, hidden: int = 16, layers: int = 4) -> None:
        super().__init__()
        convolution = conv_layers(signal.spatial_dims).convolution
        pool = nn.AvgPool1d if signal.spatial_dims == 1 else nn.AvgPool2d
        widths = [signal.channels, *(hidden * min(2**layer, WIDEST) for layer in range(layers))]
        self.layers = nn.ModuleList()
        for layer, (before, width) in enumerate(pairwise(widths)):
            block = nn.Sequential(
                convolution(before, width, 3, padding=1),
                nn.ReLU(),
                convolution(width, width, 3, padding=1),
                nn.ReLU(),
            )
            if layer:
                block.insert(0, pool(2, ceil_mode=True))
            self.layers.append(block)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """See `FeatureNetwork.forward`."""
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return tuple(features)
