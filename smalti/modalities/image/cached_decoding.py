"""Decodes a set of images once: later calls memory-map it from the cache."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from torch import Tensor

from smalti.data.decoded_cache import CacheEntry, DecodedCache, open_cache
from smalti.data.progress import progress
from smalti.data.rows import UndecodedExample
from smalti.data.threads import map_in_threads
from smalti.modalities.image.decoding import (
    CHUNK,
    Crop,
    DecodingLog,
    decode_into,
    decode_pictures,
    describe_read_error,
    report_unreadable,
)
from smalti.modalities.image.file_decoding import read_content
from smalti.modalities.image.pixel_range import RECORD, Range

__all__ = ["decode_once", "hash_pictures"]

logger = logging.getLogger(__name__)

ROW = np.dtype([("fingerprint", "u1", (16,)), *RECORD.descr])
DECODER = 1  # a higher number where the same file is decoded to other pixels


def decode_once(  # noqa: PLR0913 - those of `decode_pictures`
    pictures: Callable[[], Iterable[UndecodedExample]],
    n: int,
    size: tuple[int, int],
    channels: int,
    crop: Crop,
    log: DecodingLog,
    value_range: Range | None = None,
) -> tuple[Tensor, Tensor]:
    """Decodes n pictures with `decode_pictures`, or reads them from the cache if it has them.

    Arguments:
        pictures: Yields the stored pictures, in the same order each time.
        Others: See `decode_pictures`.
    """
    options = {"decoder": DECODER, "pillow": PIL.__version__, "range": value_range}
    options["crop"] = "none" if crop == "none" else "center"
    cache = open_cache(options, (channels, *size)) if n else None
    if cache is not None and not cache.has_room(n):
        logger.warning("%d images are more than the cache may hold: not kept.", n)
        cache = None
    if cache is not None:
        try:
            entry = _entry(cache, pictures, n, crop, log, value_range)
            if entry is not None:
                return torch.from_numpy(entry.values), _taken(entry, log)
        except OSError as error:
            logger.warning("The cache %s cannot be used (%s): nothing is kept.", cache.root, error)
    return decode_pictures(pictures(), n, size, channels, crop, log, value_range)


def _entry(  # noqa: PLR0913 - those of `decode_pictures`
    cache: DecodedCache,
    pictures: Callable[[], Iterable[UndecodedExample]],
    n: int,
    crop: Crop,
    log: DecodingLog,
    value_range: Range | None,
) -> CacheEntry | None:
    """Returns the entry of the pictures, which is made where there is none."""
    known: dict[int, tuple[CacheEntry, int]] = {}
    if not cache.is_empty():  # else all are read only once, to decode and to hash
        hash_pictures(pictures(), n, log)
        if (entry := cache.find(log.fingerprints)) is not None:
            return entry
        log.faults = [None] * n  # which are found out again
        known = cache.find_rows(log.fingerprints)
        known = {row: place for row, place in known.items() if log.fingerprints[row].any()}
    with cache.writing(n) as draft:
        faults: dict[int, str] = {}
        for row, (entry, place) in known.items():
            draft.values[row] = entry.values[place]
            _copy_record(log, row, entry, place)
            if (fault := entry.facts["faults"].get(str(place))) is not None:
                faults[row] = fault
        missing = _others(pictures(), known)
        decode_into(draft.values, missing, n - len(known), cache.shape[0], crop, log, value_range)
        faults |= {row: fault for row, fault in enumerate(log.faults) if fault is not None}
        rows = np.zeros(n, dtype=ROW)
        rows["fingerprint"] = log.fingerprints
        for name in RECORD.names or ():
            rows[name] = log.records[name]
        draft.finish(rows, {"faults": faults, "modes": log.modes})
    return cache.find(log.fingerprints)


def _others(
    pictures: Iterable[UndecodedExample], known: dict[int, Any]
) -> Iterator[tuple[int, UndecodedExample]]:
    return ((row, picture) for row, picture in enumerate(pictures) if row not in known)


def _copy_record(log: DecodingLog, row: int, entry: CacheEntry, place: int) -> None:
    """Copies what an entry of the cache records of a picture to a row of `log`."""
    for name in RECORD.names or ():
        log.records[row][name] = entry.rows[place][name]
    mode = entry.facts["modes"][int(entry.rows[place]["mode"])]
    if mode not in log.modes:
        log.modes.append(mode)
    log.records[row]["mode"] = log.modes.index(mode)


def hash_pictures(pictures: Iterable[UndecodedExample], n: int, log: DecodingLog) -> None:
    """Records name and fingerprint of each picture in a log; zeros if it cannot be read."""

    def work(chunk: list[tuple[int, UndecodedExample]]) -> int:
        for row, picture in chunk:
            content = picture.content
            log.names[row] = picture.name
            try:
                read = read_content(content) if isinstance(content, Path) else content
                log.take(row, picture, read)
            except (OSError, ValueError) as error:
                log.fingerprints[row], log.faults[row] = 0, describe_read_error(error)
        return len(chunk)

    numbered = enumerate(pictures)
    chunks = iter(lambda: list(itertools.islice(numbered, CHUNK)), [])
    for _ in progress(map_in_threads(work, chunks), -(-n // CHUNK), "looking for known images"):
        pass


def _taken(entry: CacheEntry, log: DecodingLog) -> Tensor:
    """Copies the records of an entry; returns whether each picture could be read (n,), bool."""
    log.modes = list(entry.facts["modes"])
    for name in RECORD.names or ():
        log.records[name] = entry.rows[name]
    log.faults = [None] * len(entry.rows)
    for row, fault in entry.facts["faults"].items():
        log.faults[int(row)] = fault
    return report_unreadable(log)
