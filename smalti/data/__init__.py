"""Data: where examples come from, and what their conditions mean."""

from smalti.conditions import Condition, GridsAbove, Label, TimeOfDay
from smalti.data.base import Batch, Examples, Factored, Source, SplitName, Splits
from smalti.data.clocks import Clocks, ClockStyle, render_clock
from smalti.data.decoding import read_image
from smalti.data.factors import FactorGrid, render_shape
from smalti.data.images import Columns, HeldOut, Images

__all__ = [
    "Batch",
    "ClockStyle",
    "Clocks",
    "Columns",
    "Condition",
    "Examples",
    "FactorGrid",
    "Factored",
    "GridsAbove",
    "HeldOut",
    "Images",
    "Label",
    "Source",
    "SplitName",
    "Splits",
    "TimeOfDay",
    "read_image",
    "render_clock",
    "render_shape",
]
