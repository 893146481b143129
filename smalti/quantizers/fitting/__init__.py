"""Fits quantizers to a whole set of vectors, without gradients."""

from smalti.quantizers.fitting.fitting import Fitting, Progress
from smalti.quantizers.fitting.optimized_product import OptimizedProduct
from smalti.quantizers.fitting.product_kmeans import ProductKMeans
from smalti.quantizers.fitting.residual_kmeans import ResidualKMeans
from smalti.quantizers.fitting.rows import Rows, TensorRows

__all__ = [
    "Fitting",
    "OptimizedProduct",
    "ProductKMeans",
    "Progress",
    "ResidualKMeans",
    "Rows",
    "TensorRows",
]
