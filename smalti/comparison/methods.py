"""The quantizers that are compared, by short names: all with K = 2^bits and the same dimension.

What has a codebook starts from k-means and has its dead codewords reset in the same way, until
four fifths of the training are over; otherwise one would compare the care that was taken, not the
methods. What quantizes numbers and not vectors stands between two learned linear maps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from smalti.errors import InputError

__all__ = ["METHODS", "Method", "method"]

Config = dict[str, Any]


class Method(NamedTuple):
    """A quantizer to compare, with its config at each rate and the weights of its losses."""

    summary: str
    """What it is, in a few words."""

    quantizer: Callable[[int, int, int], Config]
    """Maps (bits, dim, steps) to the config of the quantizer, as a recipe writes it."""

    loss_weights: Mapping[str, float] = {}
    """Weights of the losses beside codebook and commitment, by name."""


def method(name: str) -> Method:
    """Returns the method of a name.

    Raises:
        InputError: If there is none.
    """
    if name not in METHODS:
        raise InputError(
            f"There is no quantizer {name!r} to compare: choose from {','.join(METHODS)}."
        )
    return METHODS[name]


def _part(name: str, **arguments: Any) -> Config:
    return {"class_path": name, "init_args": arguments}


def _vector(codebook: str, estimator: str) -> Callable[[int, int, int], Config]:
    """Returns what makes the config of a vector quantizer of (bits, dim, steps)."""

    def quantizer(bits: int, dim: int, steps: int) -> Config:
        return _part(
            "VectorQuantizer",
            codebook=_part(codebook, codebook_size=2**bits, dim=dim),
            estimator=_part(estimator),
            dead_code_reset=_part("DeadCodeReset", stop_after=4 * steps // 5),
        )

    return quantizer


def _projected(inner: Callable[[int], Config]) -> Callable[[int, int, int], Config]:
    def quantizer(bits: int, dim: int, steps: int) -> Config:
        return _part("ProjectedQuantizer", inner=inner(bits), dim=dim)

    return quantizer


def _finite_scalar(bits: int) -> Config:
    """Numbers of values: powers of two, at most 8, as equal as can be; 9 bits are 8 · 8 · 8."""
    places = -(-bits // 3)
    num_values = [2 ** (bits // places + (place < bits % places)) for place in range(places)]
    return _part("FiniteScalarQuantizer", num_values=num_values, bound=_part("SymmetricBound"))


def _gumbel(bits: int, dim: int, steps: int) -> Config:
    annealing = _part("Annealing", updates=steps)
    return _part("GumbelQuantizer", codebook_size=2**bits, dim=dim, temperature=annealing)


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
    "fsq": Method("finite scalar", _projected(_finite_scalar)),
    "lfq": Method(
        "lookup-free", _projected(lambda bits: _part("LookupFreeQuantizer", bits=bits)), LFQ_WEIGHTS
    ),
    "bsq": Method(
        "binary spherical",
        _projected(lambda bits: _part("BinarySphericalQuantizer", bits=bits)),
        BSQ_WEIGHTS,
    ),
    "gumbel": Method("Gumbel-softmax", _gumbel, {"kl": 5e-4}),
}
