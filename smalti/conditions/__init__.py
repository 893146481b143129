"""Conditions: what the samples of a prior are asked to be."""

from smalti.conditions.base import Condition, Context, ContextSizes, GridSpec
from smalti.conditions.caption import Caption
from smalti.conditions.coarse_tokens import CoarseTokens
from smalti.conditions.label import Label
from smalti.conditions.optional import OptionalCondition
from smalti.conditions.several import Conditions, conditions_by_name
from smalti.conditions.time_of_day import TimeOfDay

__all__ = [
    "Caption",
    "CoarseTokens",
    "Condition",
    "Conditions",
    "Context",
    "ContextSizes",
    "GridSpec",
    "Label",
    "OptionalCondition",
    "TimeOfDay",
    "conditions_by_name",
]
