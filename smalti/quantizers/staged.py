"""The base class of quantizers with stages that each add a vector, coarse to fine.

    z_q = e_1 + … + e_Q          indices (..., Q), and the first q of them decode to e_1 + … + e_q

Each stage takes what those before left over of a vector. How an e_i follows from its index is what
such quantizers differ in, and so is the way to search for the indices, of which `beam` says how
widely it is done.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.quantizers.composed import (
    SummedQuantizer,
    check_per_vector,
    remove_code_axis,
    unique_quantizers,
)
from smalti.quantizers.estimators import Estimator
from smalti.quantizers.quantizer import Quantizer
from smalti.ranges import range_of

__all__ = ["StagedQuantizer"]


class StagedQuantizer(SummedQuantizer, ABC):
    """Abstract: quantizes vectors (..., D) in stages; indices are (..., Q), coarse to fine.

    Arguments:
        stages: Quantizers of vectors of D dimensions, with straight-through estimators.
        estimator: The gradient estimator of the sum; `StraightThrough()` if None.
        beam: B > 0, the beam width of the search for codes.
    """

    def __init__(self, stages: Sequence[Quantizer], estimator: Estimator | None, beam: int) -> None:
        check_per_vector(stages, "stages")
        super().__init__(stages, estimator)
        if len({stage.dim for stage in stages}) > 1:
            raise InputError(
                f"Stages quantize the same vectors, got the dims "
                f"{', '.join(str(stage.dim) for stage in stages)}: wrap a stage in "
                f"ProjectedQuantizer(stage, dim) to change its dim."
            )
        self.stages, self.order = unique_quantizers(stages)
        self.codebook_sizes = tuple(size for stage in stages for size in stage.codebook_sizes)
        self.dim = stages[0].dim
        self._count_for_parts()
        self.beam = beam

    @property
    def beam(self) -> int:
        """Returns how many sums are kept after each stage when codes are searched.

        Set to no whole number above 0, or to one that the stages cannot be searched with, it raises
        `InputError`.
        """
        return self._beam

    @beam.setter
    def beam(self, beam: int) -> None:
        if type(beam) is not int or beam not in range_of(type(self), "beam"):
            raise InputError(
                f"beam is a whole number from 1 to {2**16}, got {beam!r}: 1 is greedy search."
            )
        self._check_beam(beam)
        self._beam = beam
        if "_arguments" in self.__dict__:
            self.__dict__["_arguments"]["beam"] = beam  # so that it is saved

    @abstractmethod
    def _check_beam(self, beam: int) -> None:
        """Raises `InputError` where the stages cannot be searched with such a beam."""

    def _stages(self) -> list[Quantizer]:
        return [self.stages[place] for place in self.order]  # type: ignore[misc]

    def _joined(self, indices: list[Tensor]) -> Tensor:
        return remove_code_axis(self, torch.cat(indices, dim=-1))
