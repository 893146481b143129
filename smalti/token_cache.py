"""Writes and reads the cache of a run's token grids.

It is a folder of parquet shards and a `tokens.json`, written last, that says which tokenizer made
them, and their grid, codebook sizes, type and number. It holds the SHA-256 of each shard and of
itself: one bit that flips on the disk is noticed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from smalti.errors import InputError
from smalti.files import atomic_folder, read_bytes, sha256, write_text
from smalti.layout import Layout
from smalti.tokens import BROKEN, TokenGrids, read_tokens, smallest_dtype, write_tokens

__all__ = ["cache_made_from", "cached_tokenizer", "read_cache", "write_cache"]

SHARD = 100_000
MANIFEST = "tokens.json"
LARGEST = 64 << 20  # bytes of a manifest


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
            "dtype": np.dtype(smallest_dtype(largest)).name,
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
    """Reads `tokens.json`; raises any of the exceptions `BROKEN` unless it is whole."""
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
    """Raises any of the exceptions `BROKEN` unless a shard is as it was written, if known."""
    if not re.fullmatch(rf"{re.escape(split)}-\d+\.parquet", name):
        raise ValueError(f"{name} is no shard of it")
    if wanted is not None and sha256(folder / name) != wanted:
        raise ValueError(f"{name} was edited or damaged: its checksum differs")


def _checksum(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
