"""IDs of vectors as an estimator of scikit-learn's: a table of embeddings to a few codes per row.

    ids = SemanticIDs(codebook_sizes=(256, 256, 256)).fit(X)     X (N, D)
    codes = ids.transform(X)                                     (N, 3) integers
    X_hat = ids.inverse_transform(codes)                         (N, D)
    table = ids.id_table(names, X)                               an ID of its own for each item

The codes are those of residual k-means: the first level has the centroids of all rows, each further
one those of what the levels before it left over; then all levels are refined together. So rows with
the same first codes lie close, and the more codes are the same, the closer. Those of product
k-means are each of a part of the vector of its own, so that no code comes before another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from smalti.errors import InputError
from smalti.ids import CodeSpace, IdTable, check_enough_ids
from smalti.networks import Affine, Normalization, UnitLength, Whitening
from smalti.quantizers import (
    EMACodebook,
    ProductQuantizer,
    Quantizer,
    ResidualQuantizer,
    RotatedQuantizer,
    VectorQuantizer,
)
from smalti.quantizers.fitting import (
    Fitting,
    OptimizedProduct,
    ProductKMeans,
    ResidualKMeans,
    Rows,
    TensorRows,
)
from smalti.quantizers.fitting.rows import CHUNK, rows_at_once

__all__ = ["SemanticIDs"]

METHODS = ("kmeans", "product", "optimized-product")
NORMALIZATIONS = ("none", "center", "standardize", "whiten", "unit")
FLOATS = (np.float32, np.float64, np.float16)  # what is of none of these becomes the first


class SemanticIDs(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Encodes vectors to semantic IDs of a few codes each, coarse to fine (a transformer).

    Arguments:
        codebook_sizes: K of each level; there are K₁ · K₂ · … IDs. `fit` needs at least as many
            rows as the largest K.
        method: How codes are learned: by residual k-means ("kmeans"), or by k-means of as many
            parts of the vector as there are codes ("product"), which are cut along directions that
            are learned, too ("optimized-product").
        beam: The beam width of the search for codes. 1 takes the nearest code of each level; more
            come closer to the vector, and take longer. A product has 1.
        normalize: How vectors are normalized first: not at all ("none"), minus their mean
            ("center"), to variance 1 in each dimension ("standardize") or in all directions
            ("whiten"), or to length 1 ("unit"), which `inverse_transform` cannot undo.
        iterations: Lloyd's iterations over all rows, at each level; passes over all rows of
            "optimized-product".
        refine: Rounds in which the codes of all levels of "kmeans" are then refined together; 0
            leaves them as k-means found them, None is for as many as serve well.
        random_state: Seed of the initial centroids.

    Attributes:
        codebooks_: The vectors of the codes of each level, (K, D) each, as they are normalized; of
            a product those of each part, (K, d), as they are rotated.
        quantizer_: The quantizer: a `ResidualQuantizer`, `ProductQuantizer` or `RotatedQuantizer`
            of `smalti.quantizers`.
        n_features_in_: D.

    References:
        Recommender Systems with Generative Retrieval, S. Rajput et al., 2023, arXiv 2305.05065.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(500, 16))
        >>> ids = SemanticIDs(codebook_sizes=(16, 16), random_state=0).fit(X)
        >>> codes = ids.transform(X)
        >>> codes.shape, ids.inverse_transform(codes).shape
        ((500, 2), (500, 16))
        >>> table = ids.id_table([f"item-{n}" for n in range(500)], X)
        >>> len(table.tree.keys[-1])
        500
    """

    def __init__(
        self,
        codebook_sizes: Sequence[int] = (256, 256, 256),
        *,
        method: str = "kmeans",
        beam: int = 1,
        normalize: str = "none",
        iterations: int = 20,
        refine: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.codebook_sizes = codebook_sizes
        self.method = method
        self.beam = beam
        self.normalize = normalize
        self.iterations = iterations
        self.refine = refine
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learns the codes of vectors.

        Arguments:
            X: (N, D), finite; an array that is mapped from a file is read in pieces.
            y: Ignored.

        Raises:
            InputError: If a parameter is out of range, or there are fewer rows than codes.
        """
        sizes = self._checked()
        array = validate_data(self, X, dtype=FLOATS, order=None)
        if len(array) < max(sizes):
            raise InputError(
                f"SemanticIDs takes at least a row for each of {max(sizes)} codes, got "
                f"n_samples={len(array)}: give more rows, or smaller codebook_sizes."
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        raw = TensorRows(array)
        self.normalization_ = self._learned(raw)
        rows = raw if self.normalization_ is None else _Normalized(raw, self.normalization_)
        quantizer, fitting = self._learner(sizes, rows.dim)
        fitting.fit(quantizer, rows, seed=seed)
        self.quantizer_ = quantizer.eval()
        self._n_features_out = len(sizes)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Returns the codes of vectors (N, D): (N, Q), int64.

        Raises:
            InputError: If they have another number of dimensions than those of `fit`.
        """
        check_is_fitted(self)
        array = validate_data(self, X, dtype=FLOATS, order=None, reset=False)
        found = [self.quantizer_.encode(z) for z in self._normalized(array)]
        return self._matrix(torch.cat(found)).numpy()

    def inverse_transform(self, codes: Any) -> np.ndarray:
        """Returns the vectors (N, D) that codes (N, q) stand for, float32.

        Arguments:
            codes: Integers; the first q ≤ Q of each ID, of which all Q come closest. Of a product
                all of them.

        Raises:
            InputError: If they are no such table, or one is out of range.
        """
        check_is_fitted(self)
        array, sizes = np.asarray(codes), self.quantizer_.codebook_sizes
        if array.ndim != 2 or not 1 <= array.shape[1] <= len(sizes):
            raise InputError(
                f"Codes are a table (N, 1 to {len(sizes)}), got the shape {array.shape}: give "
                f"what transform gave, or the first columns of it."
            )
        if array.shape[1] < len(sizes) and not self.quantizer_.codes_refine:
            raise InputError(
                f"Each code of a product is of a part of the vector of its own, got "
                f"{array.shape[1]} of {len(sizes)}: give all columns, or take method='kmeans', of "
                f"whose codes the first say most."
            )
        if not np.issubdtype(array.dtype, np.integer):
            raise InputError(f"Codes are integers, got {array.dtype}: give what transform gave.")
        given = torch.from_numpy(array.astype(np.int64))
        found = [self._decoded(part) for part in given.split(CHUNK)]
        x = torch.cat(found) if found else torch.zeros(0, self.n_features_in_)
        return x.numpy()

    def id_table(
        self,
        item_ids: Sequence[Any],
        X: Any,
        collisions: str = "index",
        against: IdTable | None = None,
    ) -> IdTable:
        """Gives items an ID each, see `smalti.ids.IdTable`: as text, written to a file, looked up.

        Arguments:
            item_ids: Their names, (N,), all different.
            X: Their vectors, (N, D).
            collisions: What is done with items of the same codes: "index" adds a further code,
                "nearest" takes the nearest free ID, "none" leaves them.
            against: IDs that were given before, which stay; `collisions` is theirs.

        Raises:
            InputError: If an item comes twice, there are more items than IDs, or those that were
                given before are of another estimator.
        """
        own = self.transform(X)
        made_from = {"tokenizer": self._identity()}
        space = CodeSpace(self._vectors_of, lambda rows: self._rows_of(X, rows))
        if against is None:
            check_enough_ids(len(own), self.quantizer_.codebook_sizes, collisions)
            sizes = self.quantizer_.codebook_sizes
            return IdTable.of(item_ids, own, sizes, collisions, space=space, made_from=made_from)
        if against.made_from.get("tokenizer") != made_from["tokenizer"]:
            raise InputError(
                "The IDs that were given before are of another estimator than this one: give those "
                "that its id_table made."
            )
        return against.extended(item_ids, own, space=space)

    @property
    def codebooks_(self) -> tuple[np.ndarray, ...]:
        """Returns the vectors of the codes of each level, (K, D) each; (K, d) of a product."""
        inner: Any = self.quantizer_
        if isinstance(self.quantizer_, RotatedQuantizer):
            inner = self.quantizer_.inner
        stages: Any = inner.parts if isinstance(inner, ProductQuantizer) else inner.stages
        return tuple(stage.codebook.weight.detach().numpy().copy() for stage in stages)

    def __sklearn_is_fitted__(self) -> bool:
        """Returns whether `fit` has been called."""
        return hasattr(self, "quantizer_")

    def __sklearn_tags__(self) -> Any:
        """Returns what scikit-learn is told: that codes are integers, whatever the vectors are."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _checked(self) -> tuple[int, ...]:
        """Returns K of each level; raises `InputError` for a parameter out of range."""
        try:
            sizes = tuple(int(size) for size in self.codebook_sizes)
        except TypeError as error:
            raise InputError(
                f"codebook_sizes is a list of sizes, got {self.codebook_sizes!r}: give one for "
                f"each level, e.g. (256, 256, 256)."
            ) from error
        if not sizes or min(sizes) < 1:
            raise InputError(
                f"codebook_sizes are at least one, each 1 or more, got {sizes}: give one for each "
                f"level, e.g. (256, 256, 256)."
            )
        for name, known in (("method", METHODS), ("normalize", NORMALIZATIONS)):
            if (value := getattr(self, name)) not in known:
                raise InputError(f"{name} is one of {', '.join(known)}, got {value!r}: choose one.")
        return sizes

    def _learner(self, sizes: tuple[int, ...], dim: int) -> tuple[Quantizer, Fitting]:
        """Returns the quantizer of vectors of so many dimensions, and what fits it."""
        if self.method == "kmeans":
            levels = [VectorQuantizer(EMACodebook(codebook_size=k, dim=dim)) for k in sizes]
            return ResidualQuantizer(levels, beam=self.beam), ResidualKMeans(
                self.iterations, self.refine
            )
        if self.beam != 1:
            raise InputError(
                f"A product has no sums to search by a beam, got beam={self.beam!r}: set it to 1, "
                f"or take method='kmeans'."
            )
        if self.refine:
            raise InputError(
                f"The codes of a product are not refined together, got refine={self.refine!r}: "
                f"leave it out, or take method='kmeans'."
            )
        if len(sizes) > dim:
            raise InputError(
                f"A product has a part of the vector for each of {len(sizes)} codebook_sizes, got "
                f"n_features={dim}: give fewer, or take method='kmeans'."
            )
        share, more = divmod(dim, len(sizes))
        product = ProductQuantizer(
            [
                VectorQuantizer(EMACodebook(codebook_size=k, dim=share + (place < more)))
                for place, k in enumerate(sizes)
            ]
        )
        if self.method == "product":
            return product, ProductKMeans(self.iterations)
        return RotatedQuantizer(product), OptimizedProduct(self.iterations)

    def _learned(self, rows: Rows) -> Normalization | None:
        """Learns what is quantized of vectors."""
        if self.normalize in ("center", "standardize"):
            return Affine.learned(rows.chunks(), scaled=self.normalize == "standardize")
        if self.normalize == "whiten":
            return Whitening.learned(rows.chunks())
        return UnitLength() if self.normalize == "unit" else None

    @torch.no_grad()
    def _normalized(self, array: np.ndarray) -> Iterator[Tensor]:
        """Yields vectors as they are quantized, in pieces."""
        size = rows_at_once(array.shape[1])
        for start in range(0, len(array), size):
            x = torch.from_numpy(np.array(array[start : start + size], dtype=np.float32))
            yield x if self.normalization_ is None else self.normalization_(x)

    @torch.no_grad()
    def _decoded(self, codes: Tensor) -> Tensor:
        """Returns the vectors (n, D) of the first codes (n, q) of IDs, as they were given."""
        z = self._vectors_of(codes)
        return z if self.normalization_ is None else self.normalization_.inverse(z)

    @torch.no_grad()
    def _vectors_of(self, codes: Tensor) -> Tensor:
        """Returns the vectors (n, D) of the first codes (n, q) of IDs, as they are quantized."""
        sizes = self.quantizer_.codebook_sizes
        if len(sizes) == 1:
            return self.quantizer_.decode(codes[:, 0])
        return self.quantizer_.decode(codes)

    def _rows_of(self, X: Any, rows: Tensor) -> Tensor:
        """Returns some of the vectors (n, D) of items, as they are quantized."""
        chosen = X.iloc[rows.numpy()] if hasattr(X, "iloc") else np.asarray(X)[rows.numpy()]
        array = validate_data(self, chosen, dtype=FLOATS, order=None, reset=False)
        return torch.cat([*self._normalized(array)])

    def _matrix(self, codes: Tensor) -> Tensor:
        return codes.reshape(len(codes), -1)

    def _identity(self) -> str:
        """Returns the checksum of what codes are made by."""
        made_by = (self.normalize, self.beam) + (() if self.method == "kmeans" else (self.method,))
        digest = hashlib.sha256(repr(made_by).encode())
        normalization, quantizer = self.normalization_, self.quantizer_
        states = [] if normalization is None else [normalization.state_dict()]
        if isinstance(quantizer, RotatedQuantizer):
            states.append({"rotation": quantizer.rotation})
        for state in (*states, {"codebooks": self.codebooks_}):
            for value in state.values():
                for part in value if isinstance(value, tuple) else (value.numpy(),):
                    digest.update(np.ascontiguousarray(part, "<f4").tobytes())
        return digest.hexdigest()


class _Normalized(Rows):
    """Rows as they are normalized."""

    def __init__(self, rows: Rows, normalization: Normalization) -> None:
        self.rows, self.normalization = rows, normalization
        self.dim = normalization.channels(rows.dim)

    def __len__(self) -> int:
        return len(self.rows)

    @torch.no_grad()
    def chunks(self, size: int | None = None, first: int = 0, step: int = 1) -> Iterator[Tensor]:
        # By map, which holds no chunk while the next one is read.
        yield from map(self.normalization, self.rows.chunks(size, first, step))

    @torch.no_grad()
    def at(self, indices: Tensor) -> Tensor:
        return self.normalization(self.rows.at(indices))
