"""Quantizers head to head: the same encoder, bits, budget and data for each."""

from smalti.comparison.gaussian_source import gaussian
from smalti.comparison.head_to_head import head_to_head
from smalti.comparison.methods import METHODS, Method
from smalti.comparison.outcomes import Comparison, Outcome
from smalti.comparison.recipes import usual
from smalti.comparison.stacks import STACKS, Stack

__all__ = [
    "METHODS",
    "STACKS",
    "Comparison",
    "Method",
    "Outcome",
    "Stack",
    "gaussian",
    "head_to_head",
    "usual",
]
