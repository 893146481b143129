"""Quantizers: map vectors (..., D) to indices and back."""

from smalti.quantizers.assignment import Assignment, Nearest, Sinkhorn, Stochastic
from smalti.quantizers.attachment import Attachment
from smalti.quantizers.binary_spherical import BinarySphericalQuantizer
from smalti.quantizers.codebooks import Codebook, EMACodebook, GradientCodebook, TransformedCodebook
from smalti.quantizers.dead_codes import DeadCodeReset
from smalti.quantizers.estimators import (
    NSVQ,
    DiVeQ,
    Estimator,
    IndexBackpropagation,
    Rotation,
    StraightThrough,
)
from smalti.quantizers.finite_scalar import (
    Bound,
    FiniteScalarQuantizer,
    ShiftedBound,
    SymmetricBound,
)
from smalti.quantizers.geometry import Cosine, Euclidean, Geometry, Spherical
from smalti.quantizers.gumbel import Annealing, GumbelQuantizer
from smalti.quantizers.implicit import ImplicitResidualQuantizer
from smalti.quantizers.kmeans import kmeans
from smalti.quantizers.lookup_free import LookupFreeQuantizer
from smalti.quantizers.multiscale import MultiScaleQuantizer
from smalti.quantizers.product import ProductQuantizer
from smalti.quantizers.projected import ProjectedQuantizer, ScaledQuantizer
from smalti.quantizers.quantizer import (
    Quantized,
    Quantizer,
    attach_quantizers,
    freeze_codebooks,
    silence_reminders,
)
from smalti.quantizers.regularisers import Entropy, Orthogonality, Regulariser
from smalti.quantizers.residual import ResidualQuantizer
from smalti.quantizers.rotated import RotatedQuantizer
from smalti.quantizers.search import nearest
from smalti.quantizers.usage import codebook_usage, count_indices, perplexity, usage
from smalti.quantizers.vector import VectorQuantizer

__all__ = [
    "Annealing",
    "Assignment",
    "Attachment",
    "BinarySphericalQuantizer",
    "Bound",
    "Codebook",
    "Cosine",
    "DiVeQ",
    "EMACodebook",
    "Entropy",
    "Estimator",
    "Euclidean",
    "FiniteScalarQuantizer",
    "Geometry",
    "GradientCodebook",
    "GumbelQuantizer",
    "ImplicitResidualQuantizer",
    "IndexBackpropagation",
    "LookupFreeQuantizer",
    "MultiScaleQuantizer",
    "NSVQ",
    "Nearest",
    "Orthogonality",
    "ProductQuantizer",
    "ProjectedQuantizer",
    "Quantized",
    "Quantizer",
    "Regulariser",
    "ResidualQuantizer",
    "DeadCodeReset",
    "RotatedQuantizer",
    "Rotation",
    "ScaledQuantizer",
    "ShiftedBound",
    "Sinkhorn",
    "Spherical",
    "Stochastic",
    "StraightThrough",
    "SymmetricBound",
    "TransformedCodebook",
    "VectorQuantizer",
    "attach_quantizers",
    "codebook_usage",
    "count_indices",
    "silence_reminders",
    "freeze_codebooks",
    "kmeans",
    "nearest",
    "perplexity",
    "usage",
]
