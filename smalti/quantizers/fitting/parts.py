"""Checks and helpers that fittings share, for the vector quantizers in a quantizer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.quantizers.fitting.rows import Rows
from smalti.quantizers.geometry import Euclidean
from smalti.quantizers.quantizer import Quantizer
from smalti.quantizers.vector import VectorQuantizer

__all__ = [
    "check_iterations",
    "check_rows",
    "check_sizes",
    "codewords_of",
    "draw_rows",
    "generator_of",
    "vector_quantizers",
]


def generator_of(seed: int, stage: int) -> torch.Generator:
    """Makes the random generator of a stage, which depends on seed and stage alone."""
    return torch.Generator().manual_seed((seed * 1_000_003 + stage) % 2**63)


def draw_rows(rows: Rows, n: int, generator: torch.Generator) -> Tensor:
    """Draws n rows, the same in all processes; all, in order, if there are no more: (n, D)."""
    if n >= len(rows):
        return rows.at(torch.arange(len(rows)))
    return rows.at(torch.randperm(len(rows), generator=generator)[:n].sort().values)


def vector_quantizers(
    fitting: str, what: str, quantizer: Quantizer, parts: Sequence[Quantizer]
) -> list[VectorQuantizer]:
    """Checks that the parts of a quantizer are vector quantizers k-means can fit; returns them.

    Arguments:
        fitting: Name of the fitting's class, for the message.
        what: What messages call the parts.
        quantizer: The whole quantizer.
        parts: Its parts, each with a codebook of its own.

    Raises:
        InputError: If k-means cannot fit a part, or a part occurs twice.
    """
    if len({id(part) for part in parts}) < len(parts):
        raise InputError(
            f"{fitting} gives each of the {what} a codebook of its own, got a "
            f"{type(quantizer).__name__} whose {what} share one: give it several."
        )
    found: list[VectorQuantizer] = []
    for part in parts:
        if not isinstance(part, VectorQuantizer) or not isinstance(part.geometry, Euclidean):
            geometry = getattr(part, "geometry", None)
            kind = "" if geometry is None else f" with {type(geometry).__name__} geometry"
            raise InputError(
                f"{fitting} fits VectorQuantizers with Euclidean geometry, got a "
                f"{type(part).__name__}{kind}: choose such {what}, or train by gradients."
            )
        found.append(part)
    return found


def check_sizes(parts: Sequence[VectorQuantizer], rows: int | None) -> None:
    """Raises `InputError` if there are fewer rows than codewords in a codebook."""
    largest = max(part.codebook.codebook_size for part in parts)
    if rows is not None and rows < largest:
        raise InputError(
            f"k-means takes at least a row for each of {largest} codewords, got {rows}: set "
            f"codebook_size of the recipe to less, or give more training rows."
        )


def check_iterations(iterations: int) -> None:
    """Raises `InputError` for a number of iterations below 0."""
    if iterations < 0:
        raise InputError(f"iterations must be 0 or more, got {iterations}: 0 takes a sample alone.")


def check_rows(quantizer: Quantizer, rows: Rows) -> None:
    """Raises `InputError` if rows have another dimension than the quantizer."""
    if rows.dim != quantizer.dim:
        raise InputError(
            f"The quantizer takes vectors of {quantizer.dim} dimensions, got rows of "
            f"{rows.dim}: give its codebooks that dim."
        )


def codewords_of(parts: Sequence[VectorQuantizer]) -> list[Tensor]:
    """Returns the codewords (K, D), float32, of each part."""
    return [part.codewords().detach() for part in parts]
