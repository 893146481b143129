"""Compares quantizers head to head: the same encoder, bits, budget and data for each."""

from smalti.comparison.gaussian_source import compare_on_gaussian
from smalti.comparison.head_to_head import head_to_head
from smalti.comparison.methods import METHODS, Method
from smalti.comparison.outcomes import Comparison, Outcome
from smalti.comparison.recipes import default_methods
from smalti.comparison.stacks import STACKS, Stack

__all__ = [
    "METHODS",
    "STACKS",
    "Comparison",
    "Method",
    "Outcome",
    "Stack",
    "compare_on_gaussian",
    "head_to_head",
    "default_methods",
]
