"""Images as a modality: reading, writing, showing, measuring and classifying them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL.Image import Image as Pillow
from torch import Tensor
from torch.nn import functional as F

from smalti.modalities.base import Metric, Modality
from smalti.modalities.image import pictures
from smalti.modalities.image.classifier import ImageClassifier
from smalti.modalities.image.finding import IMAGES
from smalti.modalities.image.image_files import (
    convert_image,
    read_image_mask,
    read_images,
    read_partial_image,
)
from smalti.modalities.image.inception_distance import InceptionDistance
from smalti.modalities.image.metrics import ReconstructionQuality
from smalti.modalities.image.pictures import grid, to_png
from smalti.modalities.image.pixel_range import Range
from smalti.modalities.image.signal import Image
from smalti.reporting.blocks import Block, Picture
from smalti.reporting.figures import number
from smalti.reporting.measurement import Measurement
from smalti.signals import Signal

__all__ = ["ImageModality"]

PAIR_COLUMNS, PAIR_SIDE = 8, 96  # pairs in a row; px of the shorter side of an image at least


class ImageModality(Modality):
    """The modality of images (B, C, H, W) in [-1, 1]."""

    signal: ClassVar[type[Signal]] = Image
    suffixes: ClassVar[tuple[str, ...]] = (".png", *sorted(IMAGES.read - {".png"}))
    shown_as: ClassVar[str] = ".png"

    def read(
        self,
        path: str | Path,
        signal: Signal,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """See `Modality.read`; grey is made colour in any case, colour grey by `convert` alone."""
        return read_images([path], signal, convert, _range(source))[0]

    def from_object(
        self, given: Any, signal: Signal, source: Mapping[str, Any] | None = None
    ) -> Tensor | None:
        """See `Modality.from_object`; takes images of Pillow."""
        return convert_image(given, signal, _range(source)) if isinstance(given, Pillow) else None

    def read_partial(
        self,
        path: str | Path,
        signal: Signal,
        keep: str | None = None,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `Modality.read_partial`: what is not given is transparent, or not in `keep`.

        Arguments:
            path: Path of the file.
            signal: What the model takes.
            keep: Half of an opaque image: "top", which None is, "bottom", "left" or "right".
            convert: See `read`.
            source: See `read`.
        """
        return read_partial_image(path, signal, keep, convert, _range(source))

    def read_mask(
        self,
        path: str | Path,
        signal: Signal,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """See `Modality.read_mask`: an image that is white where it marks; `read_image_mask`."""
        return read_image_mask(path, signal, convert)

    def write(
        self,
        x: Tensor,
        path: str | Path,
        overwrite: bool = False,
        signal: Signal | None = None,
    ) -> None:
        """See `Modality.write`: a PNG of just its size."""
        pictures.save_png(pictures.to_image(x), path, overwrite)

    def describe(self, signal: Signal) -> str:
        """See `Modality.describe`.

        Example:
            >>> ImageModality().describe(Image(3, (32, 32))).partition(", ")[0]
            'Images of 3×32×32 values in 8 bits'
        """
        sides = (signal.channels, *signal.size)
        size = "×".join(map(str, sides))
        return f"Images of {size} values in 8 bits, {number(8 * math.prod(sides))} bits each"

    def render(
        self,
        x: Tensor,
        caption: str,
        columns: int | None = None,
        signal: Signal | None = None,
    ) -> Block:
        """See `Modality.render`: one sheet of all images."""
        return Picture(to_png(grid(x, columns=columns)), caption)

    def compare(
        self, x: Tensor, x_hat: Tensor, caption: str, signal: Signal | None = None
    ) -> Block:
        """See `Modality.compare`: the original above, its reconstruction below."""
        scale = -(-PAIR_SIDE // min(x.shape[2:]))
        pairs = torch.cat([_opaque(x, gap=1), _opaque(x_hat, gap=0)], dim=2)
        return Picture(to_png(grid(pairs, PAIR_COLUMNS, scale, padding=3 * scale)), caption)

    def metrics(self, signal: Signal) -> Sequence[Metric]:
        """See `Modality.metrics`."""
        return [ReconstructionQuality()]

    def classifier(self, signal: Signal, classes: int) -> ImageClassifier:
        """See `Modality.classifier`."""
        return ImageClassifier(signal.channels, classes)

    def measurements(self) -> Sequence[Measurement]:
        """See `Modality.measurements`."""
        return [InceptionDistance()]


def _opaque(x: Tensor, gap: int) -> Tensor:
    """Returns the images with a channel of opacity, and below them a transparent gap."""
    return F.pad(torch.cat([x, torch.ones_like(x[:, :1])], dim=1), (0, 0, 0, gap), value=-1.0)


def _range(source: Mapping[str, Any] | None) -> Range | None:
    """Returns the range of numbers that the data of a model were read with, if one was given."""
    chosen = (source or {}).get("range")
    if not isinstance(chosen, list | tuple) or len(chosen) != 2:
        return None
    return float(chosen[0]), float(chosen[1])
