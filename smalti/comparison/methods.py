"""The quantizers that are compared, by short names: all with K = 2^bits and the same dimension.

What has a codebook starts from k-means and has its dead codewords reset in the same way, until
four fifths of the training are over; otherwise one would compare the care that was taken, not the
methods. What quantizes numbers and not vectors stands between two learned linear maps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from smalti.errors import InputError

__all__ = ["METHODS", "Config", "Dim", "Method", "finite_scalar", "find_method", "object_config"]

Config = dict[str, Any]
Dim = int | str
"""D, or "auto": that of what the data have (`smalti.automatic`)."""


class Method(NamedTuple):
    """A quantizer to compare, with its config at each rate and the weights of its losses.

    Attributes:
        summary: A description of the quantizer in a few words.
        quantizer: Maps (bits, dim, steps) to the config of the quantizer, as a recipe writes it.
        loss_weights: Weights of the losses beside codebook and commitment, by name.
    """

    summary: str
    quantizer: Callable[[int, Dim, int], Config]
    loss_weights: Mapping[str, float] = {}


def find_method(name: str) -> Method:
    """Returns the method with a short name, such as "ema".

    Raises:
        InputError: If there is no such method.
    """
    if name not in METHODS:
        raise InputError(
            f"There is no quantizer {name!r} to compare: choose from {','.join(METHODS)}."
        )
    return METHODS[name]


def object_config(name: str, **arguments: Any) -> Config:
    """Returns the config of an object, as a recipe writes it: class_path and init_args."""
    return {"class_path": name, "init_args": arguments}


def _vector(codebook: str, estimator: str) -> Callable[[int, Dim, int], Config]:
    """Returns what makes the config of a vector quantizer of (bits, dim, steps)."""

    def quantizer(bits: int, dim: Dim, steps: int) -> Config:
        return object_config(
            "VectorQuantizer",
            codebook=object_config(codebook, codebook_size=2**bits, dim=dim),
            estimator=object_config(estimator),
            dead_code_reset=object_config("DeadCodeReset", stop_after=4 * steps // 5),
        )

    return quantizer


def _projected(inner: Callable[[int], Config]) -> Callable[[int, Dim, int], Config]:
    def quantizer(bits: int, dim: Dim, steps: int) -> Config:
        return object_config("ProjectedQuantizer", inner=inner(bits), dim=dim)

    return quantizer


def finite_scalar(bits: int) -> Config:
    """Returns the config of an FSQ with 2^bits codewords, of dimensions with 2, 4 or 8 values."""
    places = -(-bits // 3)
    num_values = [2 ** (bits // places + (place < bits % places)) for place in range(places)]
    return object_config(
        "FiniteScalarQuantizer", num_values=num_values, bound=object_config("SymmetricBound")
    )


def _gumbel(bits: int, dim: Dim, steps: int) -> Config:
    annealing = object_config("Annealing", updates=steps)
    return object_config("GumbelQuantizer", codebook_size=2**bits, dim=dim, temperature=annealing)


# Chosen on validation examples of Fashion-MNIST. On the sphere less keeps all words in use.
LFQ_WEIGHTS = {"sample_entropy": 0.001, "entropy_deficit": 0.1}
BSQ_WEIGHTS = {"sample_entropy": 0.01, "entropy_deficit": 0.01}

METHODS = {
    "ste": Method(
        "straight-through, codebook by gradient", _vector("GradientCodebook", "StraightThrough")
    ),
    "ema": Method("straight-through, codebook by EMA", _vector("EMACodebook", "StraightThrough")),
    "nsvq": Method("noise substitution", _vector("GradientCodebook", "NSVQ")),
    "diveq": Method("directional noise", _vector("GradientCodebook", "DiVeQ")),
    "rotation": Method("rotation trick, codebook by EMA", _vector("EMACodebook", "Rotation")),
    "ibq": Method("index back-propagation", _vector("GradientCodebook", "IndexBackpropagation")),
    "simvq": Method(
        "straight-through, frozen table through a learned map",
        _vector("TransformedCodebook", "StraightThrough"),
    ),
    "fsq": Method("finite scalar", _projected(finite_scalar)),
    "lfq": Method(
        "lookup-free",
        _projected(lambda bits: object_config("LookupFreeQuantizer", bits=bits)),
        LFQ_WEIGHTS,
    ),
    "bsq": Method(
        "binary spherical",
        _projected(lambda bits: object_config("BinarySphericalQuantizer", bits=bits)),
        BSQ_WEIGHTS,
    ),
    "gumbel": Method("Gumbel-softmax", _gumbel, {"kl": 5e-4}),
}
