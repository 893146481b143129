"""Quantizers of several indices per position that are compared: each of `stages` · `bits` bits.

    residual k-means    on the vectors themselves, fitted to the whole set without gradients; codes
                        are searched stage by stage, or those of all stages together (-beam),
                        whose codebooks may be refined together, too (-refined)
    QINCo               on the vectors themselves: residual k-means, then implicit codebooks trained
                        from it, as in the recipe semantic-ids-qinco
    PQ                  product k-means of the vectors themselves: each index is of a part of its
                        own; OPQ rotates them first, which is fitted, too
    RQ-VAE              the recipe's networks, a residual quantizer between them
    residual FSQ        the recipe's networks; numbers of few values, in each stage finer ones
    product of FSQ      the recipe's networks; each index has numbers of its own
    LSQ of faiss        on the vectors themselves, for comparison (`smalti.comparison.faiss_lsq`)

Those without a network see the vectors as the recipe's data are normalized.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from smalti import recipes
from smalti.comparison.methods import METHODS, Config, Dim, Method, finite_scalar, object_config
from smalti.errors import InputError
from smalti.recipes import safe_yaml

__all__ = [
    "FAISS_LSQ",
    "MULTI_CODEBOOK_METHODS",
    "SUMMARIES",
    "MultiCodebookMethod",
    "packaged_tokenizer",
    "find_multi_codebook_method",
]

FAISS_LSQ = "faiss-lsq"
BEAM = 5
QINCO = "semantic-ids-qinco"


class MultiCodebookMethod(NamedTuple):
    """A quantizer of several codebooks, residual or product, to compare (see `Method` for one).

    Attributes:
        summary: A description of the quantizer in a few words.
        quantizer: Maps (bits, dim, steps, stages) to the config of the quantizer, as a recipe
            writes it: `stages` indices per position, of `bits` bits each, of vectors of `dim`.
        network: Whether it is used with the recipe's networks; if not, it quantizes the data's
            vectors.
        fitting: The config of its fitting without gradients, in place of the recipe's training.
        trained_as: The recipe whose fitting and training it has, in the place of the recipe's own.
        loss_weights: Weights of the losses beside codebook and commitment, by name.
    """

    summary: str
    quantizer: Callable[[int, Dim, int, int], Config]
    network: bool = True
    fitting: Config | None = None
    trained_as: str | None = None
    loss_weights: Mapping[str, float] = {}


def find_multi_codebook_method(name: str) -> MultiCodebookMethod:
    """Returns the method of several indices per position with a short name.

    Raises:
        InputError: If there is no such method.
    """
    if name in METHODS:
        raise InputError(
            f"{name} has one index per position, got several: give --stages 1, or choose from "
            f"{','.join(MULTI_CODEBOOK_METHODS)}."
        )
    if name not in MULTI_CODEBOOK_METHODS:
        raise InputError(
            f"There is no quantizer {name!r} to compare: choose from "
            f"{','.join(MULTI_CODEBOOK_METHODS)}."
        )
    return MULTI_CODEBOOK_METHODS[name]


def _codebooks(bits: int, dim: Dim, steps: int, stages: int) -> Config:
    def one() -> Config:
        codebook = object_config("EMACodebook", codebook_size=2**bits, dim=dim)
        return object_config("VectorQuantizer", codebook=codebook)

    return object_config("ResidualQuantizer", stages=[one() for _ in range(stages)])


def _searched(bits: int, dim: Dim, steps: int, stages: int) -> Config:
    """Returns the same, with codes of all stages that are searched together."""
    config = _codebooks(bits, dim, steps, stages)
    return object_config("ResidualQuantizer", **config["init_args"], beam=BEAM)


def packaged_tokenizer(name: str) -> Config:
    """Returns the tokenizer's config in a packaged recipe, as it is written there."""
    fields = safe_yaml.read(recipes.find(name))
    assert isinstance(fields, dict)
    tokenizer: Config = fields["tokenizer"]
    return tokenizer


def _implicit(bits: int, dim: Dim, steps: int, stages: int) -> Config:
    """Returns the quantizer of its recipe, of so many stages and codewords."""
    chosen = packaged_tokenizer(QINCO)["quantizer"]

    def one() -> Config:
        codebook = object_config("GradientCodebook", codebook_size=2**bits, dim=dim)
        return object_config("VectorQuantizer", codebook=codebook)

    options = {**chosen["init_args"], "stages": [one() for _ in range(stages)]}
    return object_config(chosen["class_path"], **options)


def _product(bits: int, dim: Dim, steps: int, stages: int) -> Config:
    parts = _codebooks(bits, dim, steps, stages)["init_args"]["stages"]
    return object_config("ProductQuantizer", parts=parts)


def _rotated_product(bits: int, dim: Dim, steps: int, stages: int) -> Config:
    return object_config("RotatedQuantizer", inner=_product(bits, dim, steps, stages))


def _residual(method: Method) -> Callable[[int, Dim, int, int], Config]:
    """Returns what makes a residual quantizer whose every stage is such a method."""

    def quantizer(bits: int, dim: Dim, steps: int, stages: int) -> Config:
        parts = [method.quantizer(bits, dim, steps) for _ in range(stages)]
        return object_config("ResidualQuantizer", stages=parts)

    return quantizer


def _residual_scalar(bits: int, dim: Dim, steps: int, stages: int) -> Config:
    """Numbers of four values, 8 of some where bits are odd: in each stage a third as far apart."""
    places = max(1, bits // 2)
    num_values = [2 ** (bits // places + (place < bits % places)) for place in range(places)]

    def at(scale: float) -> Config:
        bound = object_config("SymmetricBound")
        one = object_config("FiniteScalarQuantizer", num_values=list(num_values), bound=bound)
        return object_config("ScaledQuantizer", inner=one, scale=scale)

    parts = [at(1 / (min(num_values) - 1) ** stage) for stage in range(stages)]
    return object_config(
        "ProjectedQuantizer", inner=object_config("ResidualQuantizer", stages=parts), dim=dim
    )


def _product_scalar(bits: int, dim: Dim, steps: int, stages: int) -> Config:
    parts = [finite_scalar(bits) for _ in range(stages)]
    return object_config(
        "ProjectedQuantizer", inner=object_config("ProductQuantizer", parts=parts), dim=dim
    )


PLAIN = object_config("ResidualKMeans", refine=0)

MULTI_CODEBOOK_METHODS = {
    "residual-kmeans": MultiCodebookMethod(
        "residual k-means of the vectors", _codebooks, False, PLAIN
    ),
    "residual-kmeans-beam": MultiCodebookMethod(
        f"the same, codes searched with a beam of {BEAM}", _searched, False, PLAIN
    ),
    "residual-kmeans-refined": MultiCodebookMethod(
        "the same, codebooks of all stages refined together",
        _searched,
        False,
        object_config("ResidualKMeans"),
    ),
    "qinco": MultiCodebookMethod(
        "QINCo: refined residual k-means, then implicit codebooks trained from it",
        _implicit,
        False,
        object_config("ResidualKMeans"),
        QINCO,
    ),
    "pq": MultiCodebookMethod(
        "product k-means of the vectors", _product, False, object_config("ProductKMeans")
    ),
    "opq": MultiCodebookMethod(
        "optimised product: the same, along directions that are fitted, too",
        _rotated_product,
        False,
        object_config("OptimizedProduct"),
    ),
    "rq-vae": MultiCodebookMethod(
        "RQ-VAE: residual quantizer, codebooks by EMA", _residual(METHODS["ema"])
    ),
    "rfsq": MultiCodebookMethod("residual finite scalar", _residual_scalar),
    "pfsq": MultiCodebookMethod("product of finite scalar quantizers", _product_scalar),
    FAISS_LSQ: MultiCodebookMethod("local search quantization of faiss", _codebooks, False),
}

SUMMARIES = {
    **{name: chosen.summary for name, chosen in METHODS.items()},
    **{name: chosen.summary for name, chosen in MULTI_CODEBOOK_METHODS.items()},
}
"""What each method is, in a few words."""
