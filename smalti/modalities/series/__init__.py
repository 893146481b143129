"""Time series as a modality, such as of sensors, motion or an ECG: sources, files, metrics, plots.

Importing this imports the signal alone: what reads and draws is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from smalti.modalities.series.signal import Series

if TYPE_CHECKING:
    from smalti.data import Source
    from smalti.modalities.base import Modality
    from smalti.modalities.series.columns import SeriesColumns
    from smalti.modalities.series.source import TimeSeries

__all__ = ["SIGNAL", "Series", "SeriesColumns", "TimeSeries", "modality", "sources"]

SIGNAL = Series
PLACES = {"TimeSeries": "source", "SeriesColumns": "columns"}


def modality() -> Modality:
    """Makes the modality of time series."""
    from smalti.modalities.series.series_modality import SeriesModality

    return SeriesModality()


def sources() -> tuple[type[Source], ...]:
    """Imports and returns the classes of sources of time series."""
    from smalti.modalities.series.source import TimeSeries

    return (TimeSeries,)


def __getattr__(name: str) -> Any:
    """Imports what reads series when it is first asked for."""
    if name in PLACES:
        return getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
