"""Data: what is the same for all kinds: sources, their splits, and examples."""

from smalti.data.base import Batch, Examples, Factored, Source, SplitName, Splits
from smalti.data.splitting import HeldOut

__all__ = ["Batch", "Examples", "Factored", "HeldOut", "Source", "SplitName", "Splits"]
