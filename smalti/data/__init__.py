"""Data: what is the same for all kinds: sources, their splits, and examples."""

from smalti.data.source import Batch, Examples, FactorizedSource, Source, SplitName, Splits
from smalti.data.splitting import SplitFractions
from smalti.data.tensors import TensorExamples

__all__ = [
    "Batch",
    "Examples",
    "FactorizedSource",
    "SplitFractions",
    "Source",
    "SplitName",
    "Splits",
    "TensorExamples",
]
