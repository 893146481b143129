"""Checks what a model is given: number of samples, memory, seed; splits batches in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalti.arguments import a_seed, a_whole_number, as_tensor
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.memory import check_memory
from smalti.modalities.base import ManyPerFile, modality_of
from smalti.run_directory import Run
from smalti.signals import Signal

__all__ = [
    "BATCH",
    "check_room",
    "generator_of",
    "latent_pieces",
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


def signal_pieces(x: Any, signal: Signal, run: Run | None = None) -> Iterable[Tensor]:
    """Splits a batch of signals into pieces of at most 256; files are read as they are asked for.

    Arguments:
        x: (B, C, *size), a tensor, an array or nested lists; or a path, an object of the kind of
            data that a library opened (see `Modality.from_object`), or a list of such. Of a file
            that holds many signals, all.
        signal: What the model takes.
        run: The model's, whose data say how files are read.

    Raises:
        InputError: If a file or an object is not of that signal.
    """
    given = list(x) if isinstance(x, list | tuple) else [x]
    if not given or any(isinstance(one, NUMBERS) for one in given):
        return pieces(x, "The signals")
    modality, source = modality_of(signal), source_of(run)
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


def latent_pieces(latents: Any, layout: Layout | None) -> Sequence[Any]:
    """Splits a batch of latents into pieces of at most 256, as `Autoencoder.decode` takes them.

    Arguments:
        latents: As `Model.encode` gives them, or a prefix of a hierarchy's.
        layout: Of a model of tokens; None if latents are vectors.

    Raises:
        InputError: If the grids of a hierarchy are not of one batch.
    """
    several = layout is not None and layout.levels > 1
    if several and isinstance(latents, list | tuple) and latents:
        grids = [pieces(grid, "Indices") for grid in latents]
        of_one = [sum(map(len, one_level)) if one_level[0].ndim else 0 for one_level in grids]
        if len(set(of_one)) > 1:
            raise InputError(
                f"The levels have one batch, got grids of {', '.join(map(str, of_one))} "
                f"signals: give as many of each."
            )
        return list(zip(*grids, strict=True))
    if isinstance(latents, tuple) or several:
        return [latents]  # `decode` says what is wrong
    return pieces(latents, "Latents" if layout is None else "Indices")
