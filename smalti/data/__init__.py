"""Data: where examples come from, and what their conditions mean."""

from smalti.data.base import Batch, Examples, Source, Splits
from smalti.data.conditions import Condition, Label, TimeOfDay

__all__ = ["Batch", "Condition", "Examples", "Label", "Source", "Splits", "TimeOfDay"]
