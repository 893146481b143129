"""Evaluates models: figures with their protocols, pictures, and one report of both."""

from smalti.evaluation.evaluate import evaluate, measurements_of, report_file_pattern
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.evaluation.limits import Limits
from smalti.evaluation.report import Report
from smalti.reporting import Figure

__all__ = [
    "EvaluationContext",
    "Figure",
    "Limits",
    "Report",
    "evaluate",
    "report_file_pattern",
    "measurements_of",
]
