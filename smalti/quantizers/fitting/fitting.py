"""The base class of fittings, which compute codewords from a whole set of vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch

from smalti.quantizers.fitting.parts import check_rows, generator_of
from smalti.quantizers.fitting.rows import Rows
from smalti.quantizers.quantizer import Quantizer

__all__ = ["Fitting", "Progress", "StageFit"]

Progress = Callable[[float, str], None]
"""Is told now and then which share of the work is done, from 0 to 1, and in words what goes on."""

StageFit = Callable[[int, torch.Generator, Progress], None]
"""Fits the stage of a number, from 0, with its random generator, and tells how far it is."""


class Fitting(ABC):
    """Abstract: fits a quantizer to rows without gradients, stage by stage.

    All random draws follow from the seed, so that a fit that is resumed after some stages ends with
    the same codewords. Several processes (torch.distributed) share the work if each of them calls
    `fit` with the same rows; all end with the same codewords.

    Attributes:
        stage_name: What messages call a stage.
    """

    stage_name = "stage"

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

    @torch.no_grad()
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
        self.check(quantizer, len(rows))
        check_rows(quantizer, rows)
        count, fit_stage = self.stages(quantizer), self._begin(quantizer, rows)
        for number in range(first, count):
            told = _told_of(progress, number, count, self.stage_name)
            fit_stage(number, generator_of(seed, number), told)
            if done is not None:
                done(number + 1)

    @abstractmethod
    def _begin(self, quantizer: Quantizer, rows: Rows) -> StageFit:
        """Returns a function that fits one stage, called for those not yet done, in order."""


def _told_of(progress: Progress | None, stage: int, stages: int, name: str) -> Progress:
    """Converts the progress callback of a whole fit to one for a single stage of it."""

    def tell(share: float, words: str) -> None:
        if progress is not None:
            progress((stage + share) / stages, f"{name} {stage + 1} of {stages}, {words}")

    return tell
