"""Edits files one after another and writes what was made of them, for `sample` and `edit`."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from smalti.commands.signal_output import SignalOutput
from smalti.generation import Model
from smalti.generation.checks import check_batch_memory
from smalti.signals import Signal

__all__ = ["edit_files", "edited_output"]


def edited_output(
    signal: Signal,
    out: str | None,
    files: Sequence[str],
    n: int,
    *,
    default_name: str,
    columns: int | None,
    overwrite: bool,
    also_read: Sequence[str] = (),
) -> SignalOutput:
    """Makes the output for n signals of each file; in a folder those of several have its name.

    For the arguments see `SignalOutput`.
    """
    several = len(files) > 1
    check_batch_memory(n * max(len(files), 1), math.prod(signal.shape), "samples")
    inputs = [file for file in files for _ in range(n if several else 1)]
    return SignalOutput(
        signal,
        out,
        n * max(len(files), 1),
        default_name=default_name,
        columns=columns,
        inputs=inputs,
        also_read=also_read,
        overwrite=overwrite,
    )


def edit_files(
    model: Model,
    files: Sequence[str],
    read: Callable[[str], tuple[Tensor, Tensor | None]],
    output: SignalOutput,
    n: int,
    **options: Any,
) -> None:
    """Edits files and writes n signals of each; in a picture, those of one file are a row.

    Arguments:
        model: The model.
        files: The files.
        read: Reads a file to a signal and a mask, as `Model.edit` takes them.
        output: See `edited_output`.
        n: The number of signals to make of each file.
        options: Further arguments of `Model.edit`.
    """
    made = []
    with _each_said_once("smalti.generation.editing"):
        for file in files:
            made.append(model.edit(*read(file), n=n, **options))
    several = len(files) > 1 and len(made[0]) > 1
    output.write(torch.cat(made), columns=len(made[0]) if several else None)


@contextlib.contextmanager
def _each_said_once(name: str) -> Iterator[None]:
    """Lets each message of a logger through once within a `with` block."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in said
        said.add(message)
        return new

    logger = logging.getLogger(name)
    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)
