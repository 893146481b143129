"""Writes and reads token grids: parquet for data frames and training, .npz for numpy.

Of a hierarchy each level has an array or column of its own, coarse to fine: `indices`, `indices_1`,
`indices_2` ….
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.files import atomic_file, check_regular_file
from smalti.name_array import NameArray
from smalti.npz import DAMAGED, array_names, check_unpacked_size, list_names, read_npz, write_npz
from smalti.outputs import KEY, MARK, check_file, write_rows

__all__ = ["BROKEN", "TokenGrids", "kept_dtype", "read_tokens", "smallest_dtype", "write_tokens"]

BROKEN = (*DAMAGED, pa.ArrowException)  # what is raised at a file of another kind, or broken
READ = re.compile(r"indices(_\d+)?|context|latents")


class TokenGrids(NamedTuple):
    """The token grids of N signals, with their conditions and the names of their files.

    Attributes:
        levels: The indices of each level, (N, *grid), coarse to fine; most tokenizers have one.
        context: The conditions (N,), or rows (N, S) of several, or None.
        files: The names of the files of the signals, in order, or None. They are
            written to the column `file`, which `read_tokens` ignores.
    """

    levels: tuple[Tensor, ...]
    context: Tensor | None = None
    files: Sequence[str] | None = None


def write_tokens(
    path: str | Path, tokens: TokenGrids, codebook_size: int, overwrite: bool = False
) -> None:
    """Writes token grids to a .npz or .parquet file, in the smallest integer type that holds them.

    Raises:
        InputError: If the suffix is another, an index is not in [0, codebook_size), or a file that
            smalti did not write would be replaced without `overwrite`.
    """
    path = Path(path)
    if path.suffix not in (".npz", ".parquet"):
        raise InputError(
            f"Tokens are written as .npz or .parquet, got {path.name}: choose one of the two."
        )
    for grid in tokens.levels:
        if grid.numel() and not 0 <= int(grid.min()) <= int(grid.max()) < codebook_size:
            raise InputError(
                f"Indices of a codebook of {codebook_size} are from 0 to {codebook_size - 1}, got "
                f"{int(grid.min())} to {int(grid.max())}: give the right codebook_size."
            )
    check_file(path, overwrite)
    dtype = smallest_dtype(codebook_size)
    levels = {
        _column(n): grid.numpy().astype(dtype, copy=False) for n, grid in enumerate(tokens.levels)
    }
    context = {} if tokens.context is None else {"context": tokens.context.numpy()}
    if path.suffix == ".parquet":
        names = None if tokens.files is None else NameArray.joined([tokens.files])
        _write_parquet(path, levels, context, names)
        return
    if tokens.files is not None:
        context["file"] = np.array(tokens.files, dtype=str)
    with atomic_file(path) as temporary:
        write_npz(temporary, {**levels, **context})


def read_tokens(path: str | Path) -> TokenGrids:
    """Reads token grids from a .npz or .parquet file, as `write_tokens` writes it.

    Raises:
        InputError: If the file is missing, is damaged or holds no token grids.
    """
    path = Path(path)
    if path.suffix not in (".npz", ".parquet"):
        raise InputError(
            f"Tokens are read from .npz or .parquet, got {path.name}: choose one of the two."
        )
    try:
        columns = _read_parquet(path) if path.suffix == ".parquet" else read_npz(path, READ)
        if "latents" in columns and "indices" not in columns:
            raise ValueError("it holds latents, which a run with an autoencoder decodes")
        names = [_column(level) for level in range(max(1, sum(map(_is_level, columns))))]
        if missing := next((name for name in names if name not in columns), None):
            held = list_names(_names(path))
            raise ValueError(f"{missing} is missing among {held}; it takes {missing} (N, *grid)")
        levels = [_indices(columns[name], name) for name in names]
        context = _context(columns["context"]) if "context" in columns else None
        lengths = {len(array) for array in (*levels, *([] if context is None else [context]))}
        if len(lengths) > 1 or not all(lengths):
            counts = ", ".join(f"{name} {len(columns[name])}" for name in columns)
            raise ValueError(f"it takes as many rows of each, at least one, got {counts}")
    except FileNotFoundError as error:
        raise InputError(
            f"There is no file {path}: give the path of a .npz or .parquet."
        ) from error
    except BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path} holds no whole token grids ({reason}): write it with smalti encode."
        ) from error
    return TokenGrids(tuple(levels), context)


def smallest_dtype(codebook_size: int) -> type[np.integer]:
    """Returns the smallest integer type that holds all indices of a codebook."""
    types = (np.uint8, np.uint16, np.uint32, np.int64)
    return next(t for t in types if codebook_size <= np.iinfo(t).max + 1)


def kept_dtype(codebook_size: int) -> torch.dtype:
    """Returns the type in which many indices are kept in memory: a small one that has -1, too.

    Example:
        >>> kept_dtype(256), kept_dtype(65_536)
        (torch.int16, torch.int32)
    """
    types = (torch.int16, torch.int32)
    return next((t for t in types if codebook_size <= torch.iinfo(t).max + 1), torch.int64)


def _column(level: int) -> str:
    return f"indices_{level}" if level else "indices"


def _is_level(column: str) -> bool:
    return re.fullmatch(r"indices(_\d+)?", column) is not None


def _indices(array: np.ndarray, name: str) -> Tensor:
    """Returns indices (N, *grid), int64, of whatever integers they were."""
    if array.ndim < 1:
        raise ValueError(f"{name} is a single number")
    return torch.from_numpy(_whole_numbers(array, name))


def _whole_numbers(array: np.ndarray, name: str) -> np.ndarray:
    """Converts to int64; raises `ValueError` for other numbers than integers from 0 on."""
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} are {array.dtype}, not integers")
    if array.size and array.min() < 0:
        raise ValueError(f"{name} hold {array.min()}, and none is negative")
    if array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} hold {array.max()}, more than any codebook has")
    return array.astype(np.int64)


def _context(array: np.ndarray) -> Tensor:
    """Conditions (N,), or rows (N, S): labels as int64, times as they are."""
    if array.ndim not in (1, 2) or 0 in array.shape[1:]:
        raise ValueError(f"context has the shape {array.shape}, not one value or row each")
    if not np.issubdtype(array.dtype, np.floating):
        return torch.from_numpy(_whole_numbers(array, "context"))
    if not np.isfinite(array).all():
        raise ValueError("context is not finite everywhere")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))


def _write_parquet(
    path: Path,
    levels: dict[str, np.ndarray],
    context: dict[str, np.ndarray],
    names: NameArray | None,
) -> None:
    """Writes the indices of all levels, conditions and names, a row for each example."""
    shapes = {name: list(indices.shape[1:]) for name, indices in levels.items()}
    facts = {name.replace("indices", "grid"): json.dumps(shape) for name, shape in shapes.items()}
    text = pa.string() if names is None or names.array.nbytes < 2**31 else pa.large_string()

    def table(rows: slice) -> pa.Table:
        lists = {name: _as_lists(indices[rows]) for name, indices in levels.items()}
        others = {
            name: values[rows] if values.ndim == 1 else _as_lists(values[rows])
            for name, values in context.items()
        }
        file = {} if names is None else {"file": names[rows].array.cast(text)}
        return pa.table({**lists, **others, **file}, metadata={KEY: MARK, **facts})

    n = len(next(iter(levels.values())))
    with atomic_file(path) as temporary:
        write_rows(temporary, n, table)


def _as_lists(values: np.ndarray) -> pa.Array:
    """Returns (N, *grid) as lists of one length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), math.prod(values.shape[1:]))


def _names(path: Path) -> list[str]:
    """Returns the names of what a file holds, whatever they are."""
    return list(pq.read_schema(path).names) if path.suffix == ".parquet" else array_names(path)


def _read_parquet(path: Path) -> dict[str, np.ndarray]:
    """Reads the columns that `_write_parquet` wrote; raises `ValueError` if they are damaged."""
    check_regular_file(path)
    with path.open("rb") as file, pq.ParquetFile(file) as parquet:
        schema, known = parquet.schema_arrow, parquet.metadata
        names = [name for name in schema.names if READ.fullmatch(name)]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"it holds {twice} more than once")
        parts = (known.row_group(n) for n in range(known.num_row_groups))
        values = (part.column(n).num_values for part in parts for n in range(part.num_columns))
        check_unpacked_size(path, 8 * max(sum(values), known.num_rows))
        table = parquet.read(columns=names)
    metadata = schema.metadata or {}
    return {
        name: _lists(table[name], name, metadata) if _is_level(name) else _values(table[name], name)
        for name in names
    }


def _lists(column: pa.ChunkedArray, name: str, metadata: dict[bytes, bytes]) -> np.ndarray:
    """Reads a column of lists of one length as (N, *grid)."""
    types = pa.types
    kinds = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    listed = any(is_kind(column.type) for is_kind in kinds)
    if not listed or not types.is_integer(column.type.value_type):
        raise ValueError(f"{name} is of the type {column.type}, not lists of integers")
    key = name.replace("indices", "grid")
    grid = json.loads(metadata.get(key.encode(), b"null"))
    if not isinstance(grid, list) or not all(type(n) is int and n > 0 for n in grid):
        raise ValueError(f"its metadata has no {key} that says the shape of {name}")
    size = math.prod(grid)
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    if column.null_count or not (lengths == size).all():
        row = int(np.argmax(~(lengths == size)))
        raise ValueError(f"row {row} of {name} has not just the {size} indices of a grid {grid}")
    return _numbers(pc.list_flatten(column), name).reshape(-1, *grid)


def _values(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """Reads a column of numbers as (N,), or of lists of one length as rows (N, S)."""
    if not pa.types.is_fixed_size_list(column.type):
        return _numbers(column, name)
    if column.null_count:
        raise ValueError(f"{name} has {column.null_count} empty places")
    size = column.type.list_size
    return _numbers(pc.list_flatten(column), name).reshape(-1, max(size, 1))


def _numbers(column: pa.ChunkedArray, name: str) -> np.ndarray:
    if not pa.types.is_integer(column.type) and not pa.types.is_floating(column.type):
        raise ValueError(f"{name} is of the type {column.type}, not numbers")
    if column.null_count:
        raise ValueError(f"{name} has {column.null_count} empty places")
    return column.to_numpy(zero_copy_only=False)
