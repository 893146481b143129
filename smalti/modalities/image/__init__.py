"""Images as a modality: sources, files, metrics and pictures.

Importing this imports the signal alone: what reads and draws is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from smalti.modalities.image.signal import Image

if TYPE_CHECKING:
    from smalti.data import Source
    from smalti.modalities.base import Modality
    from smalti.modalities.image.decoding import read_image
    from smalti.modalities.image.source import Columns, Images

__all__ = ["SIGNAL", "Columns", "Image", "Images", "modality", "read_image", "sources"]

SIGNAL = Image
PLACES = {"Columns": "source", "Images": "source", "read_image": "decoding"}


def modality() -> Modality:
    """Makes the modality of images."""
    from smalti.modalities.image.image_modality import ImageModality

    return ImageModality()


def sources() -> tuple[type[Source], ...]:
    """Imports and returns the classes of sources of images."""
    from smalti.modalities.image.source import Images

    return (Images,)


def __getattr__(name: str) -> Any:
    """Imports what reads images when it is first asked for."""
    if name in PLACES:
        return getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
