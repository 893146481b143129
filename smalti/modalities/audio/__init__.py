"""Sounds as a modality, such as speech and music: sources, files, metrics, players.

Importing this imports the signal alone: what reads and draws is imported when it is asked for.
"""

from __future__ import annotations

from smalti.modalities.audio.signal import Sound

__all__ = ["SIGNAL", "Sound"]

SIGNAL = Sound
