"""Compares quantizers head to head: the same encoder, bits, budget and data for each."""

from smalti.comparison.gaussian_source import compare_on_gaussian
from smalti.comparison.head_to_head import head_to_head
from smalti.comparison.methods import METHODS, Method
from smalti.comparison.multi_codebook import MULTI_CODEBOOK_METHODS, MultiCodebookMethod
from smalti.comparison.outcomes import Comparison, Outcome
from smalti.comparison.recipes import default_methods

__all__ = [
    "METHODS",
    "MULTI_CODEBOOK_METHODS",
    "Comparison",
    "Method",
    "Outcome",
    "MultiCodebookMethod",
    "compare_on_gaussian",
    "head_to_head",
    "default_methods",
]
