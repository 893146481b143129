"""Sets the beam width of the quantizers in a model.

A quantizer whose codes are searched together has the attribute `beam`, which may be set at any
time: see `smalti.quantizers.beam`. The codes of every width are those of the same codebooks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from smalti.errors import InputError
from smalti.quantizers.quantizer import Quantizer

__all__ = ["beam_of", "set_beam", "with_beam"]


def beam_of(model: nn.Module) -> int | None:
    """Returns the beam width of a model's quantizers, the largest of several; `None` if none."""
    return max((quantizer.beam for quantizer in _searched(model)), default=None)


def set_beam(model: nn.Module, beam: int) -> None:
    """Sets the beam width of all quantizers in a model that search with a beam.

    Raises:
        InputError: If none has, or `beam` is out of the range of one; nothing is changed then.
    """
    quantizers = _searched(model)
    if not quantizers:
        parts = [type(part).__name__ for part in model.modules() if isinstance(part, Quantizer)]
        got = f"a {parts[0]}" if parts else "a model without tokens"
        raise InputError(
            f"A beam searches sums of codewords, such as those of a ResidualQuantizer, got {got}: "
            f"leave beam out."
        )
    before = [quantizer.beam for quantizer in quantizers]
    try:
        for quantizer in quantizers:
            quantizer.beam = beam
    except InputError:
        _put_back(quantizers, before)
        raise


@contextmanager
def with_beam(model: nn.Module, beam: int | None) -> Iterator[None]:
    """Sets another beam width within a `with` block; keeps the model's own if `beam` is `None`.

    Raises:
        InputError: See `set_beam`.
    """
    quantizers = [] if beam is None else _searched(model)
    before = [quantizer.beam for quantizer in quantizers]
    if beam is not None:
        set_beam(model, beam)
    try:
        yield
    finally:
        _put_back(quantizers, before)


def _searched(model: nn.Module) -> list[Any]:
    """Lists the quantizers that have a beam."""
    return [
        part for part in model.modules() if isinstance(part, Quantizer) and hasattr(part, "beam")
    ]


def _put_back(quantizers: list[Any], beams: list[int]) -> None:
    for quantizer, beam in zip(quantizers, beams, strict=True):
        quantizer.beam = beam
