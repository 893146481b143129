"""Makes one array of a split's vectors: memory-mapped from its file, or converted once.

What is converted lies in the cache of what was decoded, found by the content of the files, so that
later loads, and other processes, map it into memory. An .npy file is mapped as it is; what is known
of each of its rows is found out at each load.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from smalti.data.allocation import allocate
from smalti.data.decoded_cache import DecodedCache, open_cache
from smalti.data.progress import progress
from smalti.data.splitting import SIZE
from smalti.modalities.vector.rows import ALL_ZERO, NOT_FINITE, VectorRows

__all__ = ["ConvertedVectors", "convert_vectors", "fingerprints"]

logger = logging.getLogger(__name__)

ROW = np.dtype([("fingerprint", "u1", (SIZE,)), ("fault", "u1")])
CONVERTER = 1  # a higher number where the same file is converted to other vectors
CHUNK = 8192  # rows of a mapped file that are looked at at a time
IN_MEMORY = 128 << 20  # bytes that are held in memory where there is no cache


class ConvertedVectors(NamedTuple):
    """The N vectors of a split in one array, with a fingerprint and a fault of each.

    Attributes:
        values: (N, d), of any type of numbers; memory-mapped where they are many.
        fingerprints: (N, 16), uint8, a hash of each vector in float32.
        faults: (N,), uint8: what is wrong with each, as an index of `rows.FAULTS`; 0 for nothing.
    """

    values: np.ndarray
    fingerprints: np.ndarray
    faults: np.ndarray


def convert_vectors(rows: VectorRows) -> ConvertedVectors:
    """Memory-maps the vectors of a split if one .npy file holds all; else converts to float32.

    What is converted is kept in the cache, unless that is off or full.

    Raises:
        InputError: If a file cannot be read, or the disk has no room.
    """
    if (mapped := rows.mapped) is not None:
        return _looked_at(mapped)
    way = {"vectors": CONVERTER, "columns": [*rows.columns.embedding], "dim": rows.dim}
    cache = open_cache(way, (4 * rows.dim,))
    if cache is not None and not cache.has_room(len(rows)):
        logger.warning("%d vectors are more than the cache may hold: not kept.", len(rows))
        cache = None
    if cache is not None:
        try:
            return _cached(cache, rows)
        except OSError as error:
            logger.warning("The cache %s cannot be used (%s): nothing is kept.", cache.root, error)
    shape = (len(rows), rows.dim)
    values = allocate(shape, np.float32, "The vectors", "give them as one .npy", IN_MEMORY)
    facts = np.zeros(len(rows), dtype=ROW)
    _fill(values, facts, rows)
    return ConvertedVectors(values, facts["fingerprint"], facts["fault"])


def fingerprints(values: np.ndarray) -> np.ndarray:
    """Hashes vectors (n, d), float32: (n, 16), uint8; see `smalti.data.splitting`.

    Example:
        >>> a = np.arange(6, dtype=np.float32).reshape(2, 3)
        >>> bool((fingerprints(a)[1] == fingerprints(a[1:])[0]).all())
        True
    """
    blake2b, start = hashlib.blake2b, f"<f4({values.shape[1]},)".encode()
    content, step = np.ascontiguousarray(values, dtype="<f4").tobytes(), 4 * values.shape[1]
    hashed = b"".join(
        blake2b(start + content[place : place + step], digest_size=SIZE).digest()
        for place in range(0, len(content), step)
    )
    return np.frombuffer(hashed, dtype=np.uint8).reshape(-1, SIZE)


def _cached(cache: DecodedCache, rows: VectorRows) -> ConvertedVectors:
    """Returns the entry of the files in the cache, which is made where there is none."""
    digests = b"".join(table.digest() for table in rows.tables)
    files = np.frombuffer(digests, dtype=np.uint8).reshape(-1, SIZE)
    entry = cache.find(files)
    if entry is None:
        with cache.writing(len(rows)) as draft:
            facts = np.zeros(len(rows), dtype=ROW)
            _fill(draft.values.view(np.float32), facts, rows)
            draft.finish(facts, {}, files)
        entry = cache.find(files)
    if entry is None:
        raise OSError("what was written is gone")
    return ConvertedVectors(
        entry.values.view(np.float32), entry.rows["fingerprint"], entry.rows["fault"]
    )


def _fill(values: np.ndarray, facts: np.ndarray, rows: VectorRows) -> None:
    """Writes all vectors to `values` (N, d), and what is known of each to `facts` (N,)."""
    start = 0
    for part, faults in progress(rows.vectors(), -(-len(rows) // CHUNK), "reading vectors"):
        end = start + len(part)
        values[start:end] = part
        facts["fingerprint"][start:end], facts["fault"][start:end] = fingerprints(part), faults
        start = end


def _looked_at(mapped: np.ndarray) -> ConvertedVectors:
    """Computes the fingerprint and the fault of each vector of a mapped file."""
    facts = np.zeros(len(mapped), dtype=ROW)
    chunks = progress(_chunks(mapped), -(-len(mapped) // CHUNK), "looking at vectors")
    for start, part in chunks:
        found = facts[start : start + len(part)]
        found["fingerprint"] = fingerprints(part)
        found["fault"][~part.any(axis=1)] = ALL_ZERO
        found["fault"][~np.isfinite(part).all(axis=1)] = NOT_FINITE
    return ConvertedVectors(mapped, facts["fingerprint"], facts["fault"])


def _chunks(mapped: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(mapped), CHUNK):
        with np.errstate(over="ignore"):
            yield start, mapped[start : start + CHUNK].astype(np.float32)
