"""What a model is worth: figures with their protocols, pictures, and one report of both."""

from smalti.evaluation.evaluation_context import Limits
from smalti.evaluation.latent_suite import evaluate_latents
from smalti.evaluation.report import Picture, Report
from smalti.evaluation.suite import evaluate
from smalti.reporting.figures import Figure

__all__ = ["Figure", "Limits", "Picture", "Report", "evaluate", "evaluate_latents"]
