"""Features that networks pass to each other, described as a signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from smalti.registry import registered
from smalti.signals import Signal

__all__ = ["Features"]


@registered
@dataclass(frozen=True)
class Features(Signal):
    """The signal of feature maps: between levels of a hierarchy, or a decoder's output h.

    Arguments:
        channels: C.
        size: The lengths of the grid; an empty tuple if any size fits.
        spatial_dims: How many dimensions the grid has.
    """

    noun: ClassVar[str] = "map of features"
    plural: ClassVar[str] = "maps of features"

    channels: int
    size: tuple[int, ...] = ()
    spatial_dims: int = 2  # type: ignore[misc]

    def __post_init__(self) -> None:
        self.check_fields()

    def check(self, x: Tensor) -> None:
        """Raises `InputError` unless `x` has the shape of a batch of these features."""
        self.check_layout(x)

    def finish(self, h: Tensor) -> Tensor:
        """Returns h as it is."""
        return h
