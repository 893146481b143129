"""Conditions: what the samples of a prior are asked to be."""

from smalti.conditions.coarse_tokens import CoarseTokens
from smalti.conditions.condition import Condition
from smalti.conditions.label import Label
from smalti.conditions.time_of_day import TimeOfDay

__all__ = ["Condition", "CoarseTokens", "Label", "TimeOfDay"]
