"""Checks the input of a model: number of samples, memory, seed; splits batches into pieces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalti.arguments import as_seed, as_tensor, as_whole_number
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.memory import check_memory
from smalti.modalities.base import ManyPerFile, modality_of
from smalti.run_directory import Run
from smalti.signals import Signal

__all__ = [
    "BATCH",
    "check_batch_memory",
    "make_generator",
    "latent_pieces",
    "pieces",
    "signal_pieces",
    "source_arguments",
]

NUMBERS = (Tensor, np.ndarray, np.generic, list, tuple, int, float, complex)

BATCH = 256  # signals at a time


def make_generator(n: Any, seed: Any) -> torch.Generator:
    """Makes the random generator that n samples are drawn with; of a random seed if none is given.

    Raises:
        InputError: If there is nothing to draw, or n or the seed is no such number.
    """
    if as_whole_number(n, "The number of samples") < 1:
        raise InputError(f"The number of samples must be at least 1, got {n}: give 1 or more.")
    generator = torch.Generator()
    if seed is None:
        generator.seed()
        return generator
    return generator.manual_seed(as_seed(seed))


def check_batch_memory(n: int, values: int, what: str) -> None:
    """Raises `InputError` if n signals do not fit into the memory of the machine.

    Arguments:
        n: The number of signals.
        values: The number of float32 values in each.
        what: What the message calls them, in the plural: "samples".
    """
    check_memory(4 * n * values, f"A batch of {n:,} {what}", "make fewer at a time")


def signal_pieces(x: Any, signal: Signal, run: Run | None = None) -> Iterable[Tensor]:
    """Yields a batch of signals in pieces of at most 256; a file is read when its piece is.

    Arguments:
        x: (B, C, *size), a tensor, an array or nested lists; or a path, an object that another
            library opened (see `Modality.from_object`), or a list of such. A
            file that holds many signals gives all of them.
        signal: The signal that the model takes.
        run: The run of the model, whose recipe says how files are read.

    Raises:
        InputError: If a file or an object is not of that signal.
    """
    given = list(x) if isinstance(x, list | tuple) else [x]
    if not given or any(isinstance(one, NUMBERS) for one in given):
        return pieces(x, "The signals")
    modality, source = modality_of(signal), source_arguments(run)
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


def source_arguments(run: Run | None) -> Mapping[str, Any] | None:
    """Returns the arguments of the source in the recipe of a run; None if it has none."""
    data = {} if run is None else run.read_config().get("data")
    arguments = data.get("init_args") if isinstance(data, dict) else None
    return arguments if isinstance(arguments, dict) else None


def pieces(batch: Any, what: str) -> tuple[Tensor, ...]:
    """Splits a batch into tensors of at most 256 examples; an empty batch gives one empty tensor.

    Arguments:
        batch: (B, ...), a tensor, an array or nested lists.
        what: What the message calls it, as the subject of a sentence: "The signals".
    """
    tensor = as_tensor(batch, what)
    return tensor.split(BATCH) if tensor.ndim else (tensor,)


def latent_pieces(latents: Any, layout: Layout | None) -> Sequence[Any]:
    """Splits a batch of latents into pieces of at most 256, as `Autoencoder.decode` takes them.

    Arguments:
        latents: As `Model.encode` gives them; of a hierarchy also the coarsest grids alone.
        layout: The layout of the model's tokens; None if its latents are vectors.

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
