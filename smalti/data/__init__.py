"""Data: where examples come from, and what their conditions mean."""

from smalti.data.base import Batch, Examples, Source, Splits
from smalti.data.clocks import Clocks, ClockStyle, render_clock
from smalti.data.conditions import Condition, Label, TimeOfDay

__all__ = [
    "Batch",
    "ClockStyle",
    "Clocks",
    "Condition",
    "Examples",
    "Label",
    "Source",
    "Splits",
    "TimeOfDay",
    "render_clock",
]
