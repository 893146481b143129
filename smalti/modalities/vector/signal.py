"""The signal of vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from smalti.errors import InputError
from smalti.registry import registered
from smalti.signals import Signal

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Vector"]


@registered
@dataclass(frozen=True)
class Vector(Signal):
    """The signal of vectors, such as embeddings: batches (B, d) of any finite values.

    Arguments:
        channels: d, the dimension of the vectors.
        size: Empty, since there is no grid.
        unit: Whether only the direction of a vector matters, so that errors and distances are those
            of vectors of length 1.

    Example:
        >>> Vector(50).shape
        (50,)
    """

    noun: ClassVar[str] = "vector"
    plural: ClassVar[str] = "vectors"
    spatial_dims: ClassVar[int] = 0
    words: ClassVar[frozenset[str]] = frozenset(
        "vector vectors vec vecs embedding embeddings embed emb embs feature features feat feats"
        " item items npy npz parquet csv tsv arrow feather".split()
    )

    channels: int
    size: tuple[int, ...] = ()
    unit: bool = False

    def __post_init__(self) -> None:
        """Raises `InputError` for dimensions that no vector has."""
        self.check_fields()

    def check(self, x: Tensor) -> None:
        """Raises `InputError` unless `x` is a batch (B, d) of finite floating-point values."""
        if x.ndim == 2 and x.shape[1] != self.channels:
            raise InputError(
                f"The model was trained on vectors of {self.channels} dimensions, got "
                f"{x.shape[1]}: give those that were made in the same way."
            )
        self.check_layout(x)
        if not x.is_floating_point():
            raise InputError(
                f"The model takes vectors of floating-point values, got {x.dtype}: give x.float()."
            )
        if x.numel() and not bool((finite := x.isfinite()).all()):
            rows = (~finite.all(1)).nonzero()[:, 0]
            raise InputError(
                f"The model takes vectors of finite values, got NaN or an infinity in {len(rows)} "
                f"of {len(x)}, first in row {int(rows[0])}: correct or leave out those vectors."
            )

    def finish(self, h: Tensor) -> Tensor:
        """Returns h as it is: a vector may have any values."""
        return h
