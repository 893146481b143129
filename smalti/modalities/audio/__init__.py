"""Sounds as a modality, such as speech and music: sources, files, metrics, players.

Importing this imports the signal alone: what reads and draws is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from smalti.modalities.audio.signal import Sound

if TYPE_CHECKING:
    from smalti.data import Source
    from smalti.modalities.audio.columns import SoundColumns
    from smalti.modalities.audio.source import Sounds
    from smalti.modalities.base import Modality

__all__ = ["SIGNAL", "Sound", "SoundColumns", "Sounds", "modality", "sources"]

SIGNAL = Sound
PLACES = {"Sounds": "source", "SoundColumns": "columns"}


def modality() -> Modality:
    """Makes the modality of sounds."""
    from smalti.modalities.audio.audio_modality import AudioModality

    return AudioModality()


def sources() -> tuple[type[Source], ...]:
    """Imports and returns the classes of sources of sounds."""
    from smalti.modalities.audio.source import Sounds

    return (Sounds,)


def __getattr__(name: str) -> Any:
    """Imports what reads sounds when it is first asked for."""
    if name in PLACES:
        return getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
