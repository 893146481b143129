"""Opens files of arrays of vectors as tables.

    .npz     one array (N, d), and arrays (N,) beside it: each a column
    .npy     one array (N, d): mapped into memory, the only one never converted

An array (N, d) is a column of lists of d; see `smalti.data.tables`. In a .csv or .tsv, lists may be
written as text: "[0.5, 1]".
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy

from smalti.data import tables
from smalti.data.tables import (
    EXTENSIONS,
    ROWS,
    TABLES,
    CsvTable,
    FileTable,
    Table,
    rows_without_columns,
)
from smalti.errors import InputError
from smalti.modalities.vector.signal import Vector
from smalti.npz import check_unpacked_size
from smalti.spelling import readable

__all__ = ["ARRAYS", "SUFFIXES", "NpyTable", "NpzTable", "open_table"]

PART = 16 << 20  # bytes of a batch that is read from an .npz
SUFFIXES = (".npy", ".npz", *TABLES)


class NpzTable(FileTable):
    """The arrays of an .npz file as a table: (N, d) is a column of lists, (N,) one of values."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.shapes: dict[str, tuple[int, ...]] = {}
        fields, claimed = [], 0
        with ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as content:
                    shape, fortran, dtype = _header(content, name)
                    size = member.file_size - content.tell()
                if math.prod(shape) * dtype.itemsize != size:
                    raise ValueError(f"{name} is cut off")
                if fortran and len(shape) > 1 and 1 not in shape:
                    raise ValueError(f"{name} is stored by columns: store np.ascontiguousarray")
                claimed += member.file_size
                if len(shape) in (1, 2):
                    self.shapes[name] = shape
                    fields.append(pa.field(name, _type(dtype, shape)))
        check_unpacked_size(path, claimed)
        self.schema = pa.schema(fields)
        self._check_lengths()

    def _check_lengths(self) -> None:
        lengths = {name: shape[0] for name, shape in self.shapes.items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{readable(name)} {n}" for name, n in list(lengths.items())[:6])
            raise InputError(
                f"The arrays of {self.name} have several lengths ({found}): each is a column, with "
                f"a value or a vector for every row."
            )

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        n = next(iter(self.shapes.values()))[0] if self.shapes else 0
        if not columns:
            yield rows_without_columns(n)
            return
        with contextlib.ExitStack() as stack:
            archive = stack.enter_context(ZipFile(self.path))
            streams, dtypes = [], []
            for name in columns:
                streams.append(stack.enter_context(archive.open(f"{name}.npy")))
                dtypes.append(_header(streams[-1], name)[2])
            widest = max(
                dtype.itemsize * math.prod(self.shapes[name][1:])
                for dtype, name in zip(dtypes, columns, strict=True)
            )
            rows = max(1, PART // max(1, widest))
            for start in range(0, n, rows):
                count = min(rows, n - start)
                arrays = [
                    _column(_read(stream, dtype, (count, *self.shapes[name][1:])))
                    for stream, dtype, name in zip(streams, dtypes, columns, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, names=columns)


class NpyTable(FileTable):
    """The array (N, d) of an .npy file as a table, memory-mapped.

    Attributes:
        values: The array.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with path.open("rb") as content:
            _header(content, "the array")
        self.values = np.load(path, mmap_mode="r", allow_pickle=False)
        if self.values.ndim == 1 and self.values.size:
            self.values = self.values[None]
        if self.values.ndim != 2:
            raise InputError(
                f"{self.name} holds an array of the shape {self.values.shape}: vectors are rows of "
                f"one of the shape (N, d)."
            )
        dtype, shape = self.values.dtype, self.values.shape
        self.schema = pa.schema([pa.field("embedding", _type(dtype, shape))])

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(self.values), ROWS):
            part = self.values[start : start + ROWS]
            arrays = [_column(np.ascontiguousarray(part))] if columns else []
            yield (
                pa.RecordBatch.from_arrays(arrays, names=columns)
                if columns
                else rows_without_columns(len(part))
            )


def _header(content: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads the head of an .npy: shape, whether it is stored by columns, type."""
    version = npy.read_magic(content)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(content)
    if dtype.hasobject:
        raise ValueError(f"{readable(name)} holds Python objects, which are not read")
    return shape, fortran, dtype


def _type(dtype: np.dtype, shape: tuple[int, ...]) -> pa.DataType:
    """Returns the type of a column of an array (N,) or (N, d)."""
    try:
        kind = pa.string() if dtype.kind in "US" else pa.from_numpy_dtype(dtype.newbyteorder("="))
    except pa.ArrowNotImplementedError:
        kind = pa.null()  # nothing that vectors, ids or categories are made of
    return kind if len(shape) == 1 else pa.list_(kind, shape[1])


def _read(stream: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    wanted = math.prod(shape) * dtype.itemsize
    content = stream.read(wanted)
    if len(content) < wanted:
        raise ValueError("it is cut off")
    return np.frombuffer(content, dtype).reshape(shape)


def _column(array: np.ndarray) -> pa.Array:
    """Makes a column of an array (n,) or (n, d)."""
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "backslashreplace")
    if array.ndim == 1:
        return pa.array(array.tolist() if array.dtype.kind == "U" else array)
    flat = pa.array(array.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, array.shape[1])


ARRAYS: dict[str, tables.MakeTable] = {
    ".npy": NpyTable,
    ".npz": NpzTable,
    **{
        suffix: partial(CsvTable, delimiter=delimiter, lists=True)
        for suffix, delimiter in EXTENSIONS.items()
    },
}


def open_table(path: Path) -> Table:
    """Opens a file of vectors as a table, by its suffix: .npy, .npz, .parquet, .csv, …"""
    return tables.open_table(path, Vector, ARRAYS)
