"""The measurements of any model, one file each; `MEASUREMENTS` lists them in order."""

from smalti.evaluation.measurements.accuracy import Accuracy
from smalti.evaluation.measurements.bits import BitsPerDimension
from smalti.evaluation.measurements.bounds import Bounds
from smalti.evaluation.measurements.caption_retrieval import CaptionRetrieval
from smalti.evaluation.measurements.captions import SamplesOfCaptions
from smalti.evaluation.measurements.code_probes import CodeProbes
from smalti.evaluation.measurements.codebook_usage import CodebookUsage
from smalti.evaluation.measurements.description import Description
from smalti.evaluation.measurements.feature_distance import FeatureDistance
from smalti.evaluation.measurements.frechet import FeatureDistances
from smalti.evaluation.measurements.identifiers import Identifiers
from smalti.evaluation.measurements.labels import SamplesOfLabels
from smalti.evaluation.measurements.latent_dimensions import LatentDimensions
from smalti.evaluation.measurements.levels import Levels
from smalti.evaluation.measurements.nearest_examples import NearestExamples
from smalti.evaluation.measurements.precision_recall import PrecisionRecall
from smalti.evaluation.measurements.rate import Rate
from smalti.evaluation.measurements.reconstruction import Reconstructions
from smalti.evaluation.measurements.rejection import Rejection
from smalti.evaluation.measurements.samples import Samples
from smalti.evaluation.measurements.sampling_options import SamplingOptions
from smalti.evaluation.measurements.training_curves import TrainingCurves
from smalti.reporting import Measurement

__all__ = [
    "MEASUREMENTS",
    "Accuracy",
    "BitsPerDimension",
    "Bounds",
    "CaptionRetrieval",
    "CodeProbes",
    "CodebookUsage",
    "Description",
    "FeatureDistance",
    "FeatureDistances",
    "Identifiers",
    "LatentDimensions",
    "Levels",
    "NearestExamples",
    "PrecisionRecall",
    "Rate",
    "Reconstructions",
    "Rejection",
    "Samples",
    "SamplesOfCaptions",
    "SamplesOfLabels",
    "SamplingOptions",
    "TrainingCurves",
]

MEASUREMENTS: tuple[Measurement, ...] = (
    Description(),
    Reconstructions(),
    Levels(),
    Samples(),
    SamplesOfLabels(),
    SamplesOfCaptions(),
    CaptionRetrieval(),
    SamplingOptions(),
    FeatureDistances(),
    PrecisionRecall(),
    NearestExamples(),
    Accuracy(),
    Rejection(),
    Bounds(),
    LatentDimensions(),
    Rate(),
    BitsPerDimension(),
    CodebookUsage(),
    CodeProbes(),
    Identifiers(),
)
"""Of every model, in this order; `FeatureDistance` and `TrainingCurves` are of some runs."""
