"""A signal of one dimension, such as smalti itself has none yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from smalti.registry import registered
from smalti.signals import Bounded

__all__ = ["Wave"]


@registered
@dataclass(frozen=True)
class Wave(Bounded):
    """A wave: a batch of it has the shape (B, channels, T)."""

    noun: ClassVar[str] = "wave"
    plural: ClassVar[str] = "waves"
    spatial_dims: ClassVar[int] = 1
