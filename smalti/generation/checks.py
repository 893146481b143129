"""Checks what a model is given: number of samples, memory, seed; splits batches in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalti.arguments import a_seed, a_whole_number, as_tensor
from smalti.errors import InputError
from smalti.memory import check_memory
from smalti.modalities.base import ManyPerFile, modality_of
from smalti.runs import Run
from smalti.signals import Signal

__all__ = [
    "BATCH",
    "check_room",
    "generator_of",
    "keep_given",
    "pieces",
    "signal_pieces",
    "source_of",
]

NUMBERS = (Tensor, np.ndarray, np.generic, list, tuple, int, float, complex)

BATCH = 256  # signals at a time


def generator_of(n: Any, seed: Any) -> torch.Generator:
    """Returns the generator of n samples: fresh without a seed.

    Raises:
        InputError: If there is nothing to draw, or n or the seed is no such number.
    """
    if a_whole_number(n, "The number of samples") < 1:
        raise InputError(f"The number of samples must be at least 1, got {n}: give 1 or more.")
    generator = torch.Generator()
    if seed is None:
        generator.seed()
        return generator
    return generator.manual_seed(a_seed(seed))


def check_room(n: int, values: int, what: str) -> None:
    """Raises `InputError` where n signals of so many values are more than the machine can hold.

    Arguments:
        n: How many.
        values: Values per signal, in float32.
        what: What they are, in the plural.
    """
    check_memory(4 * n * values, f"A batch of {n:,} {what}", "make fewer at a time")


def keep_given(indices: Tensor, given: Tensor) -> Tensor:
    """Puts -1 in the place of the indices whose patch is not wholly given.

    Arguments:
        indices: (B, *grid), or (B, *grid, Q).
        given: (B, *size), bool, of a size that the grid divides.

    Example:
        >>> keep_given(torch.tensor([[5, 6]]), torch.tensor([[True, True, True, False]]))
        tensor([[ 5, -1]])
    """
    grid = indices.shape[1 : given.ndim]
    patches = [n for g, length in zip(grid, given.shape[1:], strict=True) for n in (g, length // g)]
    whole = given.reshape(len(given), *patches)
    for dim in reversed(range(2, whole.ndim, 2)):
        whole = whole.all(dim)
    return torch.where(whole.reshape(*whole.shape, *[1] * (indices.ndim - whole.ndim)), indices, -1)


def signal_pieces(
    x: Any, signal: Signal, source: Mapping[str, Any] | None = None
) -> Iterable[Tensor]:
    """Splits a batch of signals into pieces of at most 256; files are read as they are asked for.

    Arguments:
        x: (B, C, *size), a tensor, an array or nested lists; or a path, an object of the kind of
            data that a library opened (see `Modality.from_object`), or a list of such. Of a file
            that holds many signals, all.
        signal: What the model takes.
        source: The arguments of the source that the model's data were read with.

    Raises:
        InputError: If a file or an object is not of that signal.
    """
    given = list(x) if isinstance(x, list | tuple) else [x]
    if not given or any(isinstance(one, NUMBERS) for one in given):
        return pieces(x, "The signals")
    modality = modality_of(signal)
    if isinstance(modality, ManyPerFile) and all(isinstance(one, str | PathLike) for one in given):
        files = (modality.read_all(Path(one), signal, source=source) for one in given)
        return (piece for batches in files for batch in batches for piece in batch.x.split(BATCH))

    def taken(one: Any) -> Tensor | None:
        if isinstance(one, str | PathLike):
            return modality.read(Path(one), signal, source=source)
        return modality.from_object(one, signal, source)

    def each(part: list[Any]) -> Tensor:
        signals = [taken(one) for one in part]
        # What is of another kind among them is told of.
        return as_tensor(x if any(one is None for one in signals) else signals, "The signals")

    if taken(given[0]) is None:
        return pieces(x, "The signals")
    parts = (given[start : start + BATCH] for start in range(0, len(given), BATCH))
    return map(each, parts)


def source_of(run: Run | None) -> Mapping[str, Any] | None:
    """Returns the arguments of the source that a run's data were read with."""
    data = {} if run is None else run.read_config().get("data")
    arguments = data.get("init_args") if isinstance(data, dict) else None
    return arguments if isinstance(arguments, dict) else None


def pieces(batch: Any, what: str) -> tuple[Tensor, ...]:
    """Splits a batch into at least one piece of at most 256; the model checks each.

    Arguments:
        batch: (B, ...), a tensor, an array or nested lists.
        what: Its name, as the subject of a sentence.
    """
    tensor = as_tensor(batch, what)
    return tensor.split(BATCH) if tensor.ndim else (tensor,)
