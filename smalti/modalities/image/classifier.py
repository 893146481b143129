"""A small convolutional classifier of images, which needs no download.

x (B, C, H, W) ─▶ at most 32 px ─▶ five 3×3 convolutions, down to an eighth, 32 to 128 channels
               ─▶ mean over positions ─▶ linear, ReLU: 64 features ─▶ linear: logits
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from smalti.modalities.base import Classifier

__all__ = ["ImageClassifier"]

SIDE = 32  # px: larger images are scaled down to this


class ImageClassifier(Classifier):
    """A small convolutional classifier of images.

    Arguments:
        channels: Channels of the images.
        classes: Number of classes.
        features: F, the number of features before the last layer.
        width: Channels of the first convolution.
    """

    def __init__(self, channels: int, classes: int, features: int = 64, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(channels, width, stride=2),
            *_convolution(width, width),
            *_convolution(width, 2 * width, stride=2),
            *_convolution(2 * width, 2 * width),
            *_convolution(2 * width, 4 * width, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, features),
            nn.ReLU(),
        )
        self.head = nn.Linear(features, classes)

    def features(self, x: Tensor) -> Tensor:
        """Maps images (B, C, H, W) in [-1, 1] to features (B, F), the inputs of the last layer."""
        scale = SIDE / max(x.shape[2:])
        if scale < 1:
            x = F.interpolate(x, scale_factor=scale, mode="area")
        return self.body(x)


def _convolution(channels: int, width: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
