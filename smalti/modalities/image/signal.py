"""The signal of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from smalti.registry import registered
from smalti.signals import Bounded

__all__ = ["Image"]


@registered
@dataclass(frozen=True)
class Image(Bounded):
    """The signal of images: a batch has the shape (B, channels, H, W).

    Arguments:
        channels: 1 for grey images, 3 for colour.
        size: (H, W); an empty tuple if any size fits.
        low: The value of black.
        high: The value of white.

    Example:
        >>> Image(3, (32, 24)).shape
        (3, 32, 24)
    """

    noun: ClassVar[str] = "image"
    plural: ClassVar[str] = "images"
    spatial_dims: ClassVar[int] = 2
    words: ClassVar[frozenset[str]] = frozenset(
        "image images img imgs pic pics picture pictures photo photos jpg jpeg jpegs png pngs"
        " jpegimages".split()
    )
    forms: ClassVar[Mapping[int, str]] = {1: "grey", 3: "colour"}
