"""Measures representations: disentanglement, mutual information with the data, and probes."""

from smalti.evaluation.representation.disentanglement import (
    DCI,
    dci,
    factor_information,
    mutual_information_gap,
)
from smalti.evaluation.representation.information import (
    active_units,
    code_entropy_bound,
    code_information,
    gaussian_information,
)
from smalti.evaluation.representation.probes import knn_accuracy, linear_probe

__all__ = [
    "DCI",
    "active_units",
    "code_entropy_bound",
    "code_information",
    "dci",
    "factor_information",
    "gaussian_information",
    "knn_accuracy",
    "linear_probe",
    "mutual_information_gap",
]
