"""Vectors as a modality, such as embeddings of items: sources, files, metrics and plots.

Importing this imports the signal alone: what reads and draws is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from smalti.modalities.vector.signal import Vector

if TYPE_CHECKING:
    from smalti.data import Source
    from smalti.modalities.base import Modality
    from smalti.modalities.vector.source import Vectors

__all__ = ["SIGNAL", "Vector", "Vectors", "modality", "sources"]

SIGNAL = Vector
PLACES = {"Vectors": "source"}


def modality() -> Modality:
    """Makes the modality of vectors."""
    from smalti.modalities.vector.vector_modality import VectorModality

    return VectorModality()


def sources() -> tuple[type[Source], ...]:
    """Imports and returns the classes of sources of vectors."""
    from smalti.modalities.vector.source import Vectors

    return (Vectors,)


def __getattr__(name: str) -> Any:
    """Imports what reads vectors when it is first asked for."""
    if name in PLACES:
        return getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
