"""Codes tokens to bytes under a learned prior, as many as its likelihood says, and back."""

from smalti.codec.codec import Codec, Coded
from smalti.codec.models import LearnedModel, SymbolModel, UniformModel, UnigramModel

__all__ = ["Codec", "Coded", "LearnedModel", "SymbolModel", "UniformModel", "UnigramModel"]
