"""The base class of fittings, which compute codewords from a whole set of vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from smalti.quantizers.fitting.rows import Rows
from smalti.quantizers.quantizer import Quantizer

__all__ = ["Fitting", "Progress"]

Progress = Callable[[float, str], None]
"""Is told now and then which share of the work is done, from 0 to 1, and in words what goes on."""


class Fitting(ABC):
    """Abstract: fits a quantizer to rows without gradients, stage by stage.

    All random draws follow from the seed, so that a fit that is resumed after some stages ends with
    the same codewords. Several processes (torch.distributed) share the work if each of them calls
    `fit` with the same rows; all end with the same codewords.
    """

    @abstractmethod
    def check(self, quantizer: Quantizer, rows: int | None = None) -> None:
        """Raises `InputError` unless it can fit such a quantizer.

        Arguments:
            quantizer: What is to be fitted.
            rows: To how many vectors, if that is known.
        """

    @abstractmethod
    def stages(self, quantizer: Quantizer) -> int:
        """Returns in how many stages it is done, each of which can be gone on from."""

    @abstractmethod
    def fit(
        self,
        quantizer: Quantizer,
        rows: Rows,
        *,
        seed: int,
        progress: Progress | None = None,
        first: int = 0,
        done: Callable[[int], None] | None = None,
    ) -> None:
        """Puts codewords into the quantizer's codebooks.

        Arguments:
            quantizer: What is fitted, on any device; where stages are done already it has their
                codewords.
            rows: The vectors.
            seed: Of everything random.
            progress: Told how far it is.
            first: How many stages are done already.
            done: Called after each stage with the number of those that are done.

        Raises:
            InputError: If it cannot fit such a quantizer to such rows.
        """
