"""Reads files of vectors for a trained model, and writes such files.

A file holds one vector or many. A model is given what its data had: the columns that these were
read from, as many dimensions, no gaps. What does not fit is told of and nothing is guessed at.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from smalti.arguments import check_finite
from smalti.counting import counted
from smalti.errors import InputError
from smalti.files import atomic_file
from smalti.modalities.base import NamedSignals
from smalti.modalities.vector.columns import choose_columns
from smalti.modalities.vector.rows import VectorRows, describe_fault
from smalti.modalities.vector.tables import open_table
from smalti.outputs import KEY, MARK, check_file
from smalti.signals import Signal
from smalti.spelling import readable

__all__ = ["WRITTEN", "read_vectors", "write_vectors"]

logger = logging.getLogger(__name__)

NAMED = 3  # vectors that an error names
WARNED = 50  # and that warnings name
WRITTEN = (".parquet", ".npy")


def read_vectors(
    path: str | Path,
    signal: Signal,
    convert: bool = False,
    source: Mapping[str, Any] | None = None,
) -> Iterator[NamedSignals]:
    """Yields the vectors in a file, in batches with their names.

    Arguments:
        path: Path of the file.
        signal: The signal that the model takes.
        convert: Whether vectors that cannot be used are left out.
        source: The arguments of the source that the model's data were read with: columns that
            the file has, too, are read as there.

    Raises:
        InputError: If it cannot be read, or has vectors of another dimension, or some that cannot
            be used, or ids that come twice.
    """
    rows = _rows(Path(path), source or {})
    name = readable(path)
    if rows.dim != signal.channels:
        raise InputError(
            f"The model was trained on vectors of {signal.channels} dimensions, got {rows.dim} in "
            f"{name}: give those that were made in the same way."
        )
    names, numbered = rows.facts.names, rows.columns.id is None
    again = np.zeros(len(rows), dtype=bool)
    again[[] if numbered else names.repeated()] = True
    left_out = [f"{line} ({fault})" for line, fault in rows.left_out]
    left_out += [f"{names[row]} (its id comes twice)" for row in np.flatnonzero(again).tolist()]
    _check(name, left_out, len(rows), convert)
    start = 0
    for values, faults in rows.vectors():
        here = names[start : start + len(values)]
        bad = np.flatnonzero(faults).tolist()
        words = [f"{here[row]} ({describe_fault(int(faults[row]), rows.dim)})" for row in bad]
        _check(name, words, len(rows), convert)
        left_out += words
        kept = np.flatnonzero((faults == 0) & ~again[start : start + len(values)])
        if len(kept):
            yield NamedSignals(torch.from_numpy(values[kept]), here.take(kept), numbered)
        start += len(values)
    for word in left_out[:WARNED]:
        logger.warning("Left out a vector of %s that cannot be used: %s", name, word)
    if left_out:
        logger.warning("Left out %d of %d vectors of %s.", len(left_out), len(rows), name)


def _rows(path: Path, source: Mapping[str, Any]) -> VectorRows:
    """Opens a file, and reads its columns as those of the data were read where it has them."""
    table = open_table(path)
    there = set(table.schema.names)
    embedding, id = source.get("embedding"), source.get("id")
    wanted = [embedding] if isinstance(embedding, str) else embedding or []
    if not set(wanted) <= there and not any("*" in str(name) for name in wanted):
        embedding = None
    columns = choose_columns(table, embedding, id if id in there else None, None, ())
    return VectorRows([table], columns._replace(label=None))


def _check(name: str, faults: Sequence[str], n: int, convert: bool) -> None:
    """Raises `InputError` for vectors that cannot be used, unless they are to be left out."""
    if faults and not convert:
        raise InputError(
            f"Of {counted(n, 'vector')} of {name} some cannot be used, e.g. "
            f"{', '.join(map(readable, faults[:NAMED]))}: correct them, or leave them out with "
            f"--convert."
        )


def write_vectors(
    x: Tensor, path: str | Path, names: Sequence[str] | None = None, overwrite: bool = False
) -> None:
    """Writes vectors (n, d) to a .parquet or .npy file, atomically.

    Arguments:
        x: The vectors, of finite values.
        path: Path of the file. A .parquet has a column `embedding` of lists, and `item_id` if there
            are names.
        names: Names of the items.
        overwrite: Whether a file that smalti did not write may be replaced.

    Raises:
        InputError: If a value is not finite, or the file may not be replaced or has another suffix.
    """
    path = Path(path)
    check_finite(x, "A vector")
    if path.suffix.lower() not in WRITTEN:
        raise InputError(
            f"Vectors are written as {' or '.join(WRITTEN)}, got {path.name}: choose one of the "
            f"two."
        )
    check_file(path, overwrite)
    values = np.ascontiguousarray(x.detach().float().cpu().numpy())
    with atomic_file(path) as temporary:
        if path.suffix.lower() == ".npy":
            np.save(temporary, values, allow_pickle=False)
            return
        flat = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
        columns: dict[str, Any] = {} if names is None else {"item_id": pa.array(names, pa.string())}
        pq.write_table(pa.table({**columns, "embedding": flat}, metadata={KEY: MARK}), temporary)
