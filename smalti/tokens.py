"""Writes and reads token grids: parquet for data frames and training, .npz for numpy.

Of a hierarchy each level has an array or column of its own, coarse to fine: `indices`, `indices_1`,
`indices_2` ….

The cache of a run is a folder of parquet shards and a `tokens.json`, written last, that says which
tokenizer made them, and their grid, codebook sizes, type and number. It holds the SHA-256 of each
shard and of itself: one bit that flips on the disk is noticed.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.files import (
    atomic_file,
    atomic_folder,
    check_regular_file,
    read_bytes,
    sha256,
    write_text,
)
from smalti.layout import Layout
from smalti.name_array import NameArray
from smalti.npz import DAMAGED, array_names, check_unpacked_size, list_names, read_npz, write_npz
from smalti.outputs import KEY, MARK, check_file

__all__ = [
    "TokenGrids",
    "cache_made_from",
    "cached_tokenizer",
    "read_cache",
    "read_tokens",
    "write_cache",
    "write_tokens",
]

SHARD = 100_000
MANIFEST = "tokens.json"
LARGEST = 64 << 20  # bytes of a manifest
BROKEN = (*DAMAGED, pa.ArrowException)  # what is raised at a file of another kind, or broken
READ = re.compile(r"indices(_\d+)?|context|latents")


class TokenGrids(NamedTuple):
    """The token grids of N signals, with their conditions and the names of their files.

    Attributes:
        levels: The indices of each level, (N, *grid), coarse to fine; most tokenizers have one.
        context: The conditions (N,), or rows (N, S) of several, or None.
        files: The names of the files of the signals, in order, or None. They are written as
            `file`, and not read again.
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
    dtype = _smallest(codebook_size)
    levels = {_column(n): grid.numpy().astype(dtype) for n, grid in enumerate(tokens.levels)}
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


def write_cache(
    folder: Path,
    splits: Iterable[tuple[str, TokenGrids]],
    layout: Layout,
    tokenizer: str,
    made_from: Mapping[str, str] | None = None,
) -> None:
    """Writes the cache of a run's token grids: parquet shards of each split, then `tokens.json`.

    Arguments:
        folder: The cache, which is replaced as a whole.
        splits: Name and token grids of each.
        layout: Layout of the tokens.
        tokenizer: The checksum of the tokenizer that made them.
        made_from: Checksums of their further inputs, by name; see `cache_made_from`.
    """
    largest = layout.largest
    with atomic_folder(folder) as temporary:
        counts: dict[str, int] = {}
        shards: dict[str, dict[str, str]] = {}
        grids = list(map(list, layout.shapes))
        for name, tokens in splits:
            shards[name] = {}
            for number, start in enumerate(range(0, len(tokens.levels[0]), SHARD)):
                part = slice(start, start + SHARD)
                context = None if tokens.context is None else tokens.context[part]
                shard = TokenGrids(tuple(grid[part] for grid in tokens.levels), context)
                file = temporary / f"{name}-{number:05d}.parquet"
                write_tokens(file, shard, largest)
                shards[name][file.name] = sha256(file)
            counts[name] = len(tokens.levels[0])
        manifest = {
            "tokenizer": tokenizer,
            **({"grid": grids[0]} if len(grids) == 1 else {"grids": grids}),
            "codebook_sizes": list(layout.sizes),
            "dtype": np.dtype(_smallest(largest)).name,
            "order": "row-major over the grid, the indices of a position one after another",
            "splits": counts,
            "shards": shards,
            **({"made_from": dict(made_from)} if made_from else {}),
        }
        manifest["checksum"] = _checksum(manifest)
        write_text(temporary / MANIFEST, json.dumps(manifest, indent=2))


def read_cache(folder: Path, split: str) -> TokenGrids:
    """Reads the token grids of a split from the cache of a run.

    Raises:
        InputError: If a shard is missing, or not as it was written.
    """
    try:
        manifest = _manifest(folder)
        wanted, files = int(manifest["splits"][split]), manifest["shards"][split]
        if not files:
            raise ValueError("it is empty")
        for name in files:
            _check_shard(folder, split, name, files[name])
    except BROKEN as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{folder} holds no whole tokens of the split {split!r} ({reason}): delete it and fit "
            f"again."
        ) from error
    shards = [read_tokens(folder / name) for name in sorted(files)]
    found = sum(len(shard.levels[0]) for shard in shards)
    if found != wanted:
        raise InputError(
            f"{folder} should hold {wanted} token grids of the split {split!r}, got {found}: "
            f"delete it and fit again."
        )
    contexts = [shard.context for shard in shards if shard.context is not None]
    levels = (torch.cat(level) for level in zip(*(s.levels for s in shards), strict=True))
    return TokenGrids(tuple(levels), torch.cat(contexts) if contexts else None)


def cached_tokenizer(folder: Path) -> str | None:
    """Reads the checksum of the tokenizer that made a cache; None if the cache is incomplete."""
    try:
        manifest = _manifest(folder)
        for split, files in manifest["shards"].items():
            for name in files:
                _check_shard(folder, split, name, files[name])
        return str(manifest["tokenizer"])
    except BROKEN:
        return None


def cache_made_from(folder: Path) -> dict[str, str]:
    """Reads the checksums of a cache's inputs beside the tokenizer; empty if not recorded.

    Raises:
        InputError: If `tokens.json` is missing or damaged.
    """
    try:
        return dict(_manifest(folder).get("made_from", {}))
    except BROKEN as error:
        raise InputError(
            f"{folder / MANIFEST} is damaged ({' '.join(str(error).split())}): delete {folder} and "
            f"fit again."
        ) from error


def _manifest(folder: Path) -> dict[str, Any]:
    """Reads `tokens.json`; raises one of BROKEN unless it is whole."""
    manifest = json.loads(read_bytes(folder / MANIFEST, LARGEST))
    if not {"checksum", "shards"} & manifest.keys():
        return {**manifest, "shards": _older_shards(folder, manifest["splits"])}
    if manifest.pop("checksum") != _checksum(manifest):
        raise ValueError(f"{MANIFEST} was edited or damaged: its checksum differs")
    return manifest


def _older_shards(folder: Path, counts: dict[str, int]) -> dict[str, dict[str, None]]:
    """Lists the shards of a cache from before they had checksums, with their rows counted."""
    shards = {split: sorted(folder.glob(f"{split}-*.parquet")) for split in counts}
    for split, files in shards.items():
        if sum(pq.read_metadata(file).num_rows for file in files) != counts[split]:
            raise ValueError(f"it should hold {counts[split]} token grids of the split {split!r}")
    return {split: dict.fromkeys(file.name for file in files) for split, files in shards.items()}


def _check_shard(folder: Path, split: str, name: str, wanted: str | None) -> None:
    """Raises one of BROKEN unless a shard is as it was written, where that is known."""
    if not re.fullmatch(rf"{re.escape(split)}-\d+\.parquet", name):
        raise ValueError(f"{name} is no shard of it")
    if wanted is not None and sha256(folder / name) != wanted:
        raise ValueError(f"{name} was edited or damaged: its checksum differs")


def _checksum(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _smallest(codebook_size: int) -> type[np.integer]:
    types = (np.uint8, np.uint16, np.uint32, np.int64)
    return next(t for t in types if codebook_size <= np.iinfo(t).max + 1)


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
    lists = {
        name: pa.FixedSizeListArray.from_arrays(
            pa.array(indices.ravel()), math.prod(indices.shape[1:])
        )
        for name, indices in levels.items()
    }
    shapes = {name: list(indices.shape[1:]) for name, indices in levels.items()}
    others = {
        name: values
        if values.ndim == 1
        else pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        for name, values in context.items()
    }
    table = pa.table(
        {**lists, **others, **({} if names is None else {"file": names.to_arrow()})},
        metadata={
            KEY: MARK,
            **{
                name.replace("indices", "grid"): json.dumps(shape) for name, shape in shapes.items()
            },
        },
    )
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary)


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
