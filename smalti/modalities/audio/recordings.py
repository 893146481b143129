"""Decodes a set of sounds once: later calls memory-map it from the cache.

All recordings of a split lie one after another in one array of samples, each from a new block on.
While they are decoded they are spooled to a temporary file, so that memory does not grow with
their number.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import soundfile
import soxr

from smalti.data.decoded_cache import CacheEntry, DecodedCache, open_cache
from smalti.data.progress import progress
from smalti.data.rows import UndecodedExample
from smalti.data.splitting import SIZE
from smalti.data.threads import map_in_threads
from smalti.modalities.audio.decoding import (
    Content,
    Header,
    SoundFault,
    SoundStatistics,
    check_heard,
    decode_sound,
    describe_read_error,
    read_header,
)

__all__ = ["FoundSounds", "Recordings", "decode_once", "look_at_sounds"]

logger = logging.getLogger(__name__)

DECODER = 1  # a higher number where the same file is decoded to other samples
BLOCK = 1024  # samples, of which each recording takes a whole number
PART = 1 << 22  # bytes
ROW = np.dtype([("recording", "<i4")])


class FoundSounds(NamedTuple):
    """What the stored sounds of a split are, before they are decoded.

    Attributes:
        names: What messages call each.
        fingerprints: (N, 16), uint8, a hash of the stored bytes of each.
        headers: Rate and channels of each; None if it cannot be read.
        faults: Why it cannot; None if it can.
    """

    names: list[str]
    fingerprints: np.ndarray
    headers: list[Header | None]
    faults: list[str | None]


class Recordings(NamedTuple):
    """The decoded sounds of a split.

    Attributes:
        samples: (S, C), int16: all of them, one after another; may be mapped into memory.
        starts: (N,), int64: where each begins.
        statistics: What is known of each; None of one that cannot be used.
        faults: Why it cannot be used; None if it can.
    """

    samples: np.ndarray
    starts: np.ndarray
    statistics: list[SoundStatistics | None]
    faults: list[str | None]


def look_at_sounds(stored: Iterable[UndecodedExample], n: int) -> FoundSounds:
    """Hashes n stored sounds, and reads what their headers say."""

    def look(one: UndecodedExample) -> tuple[str, bytes, Header | None, str | None]:
        try:
            assert isinstance(one.content, Content)
            header = read_header(one.content)
            return one.name, _hash(one.content), header, None
        except (SoundFault, OSError) as error:
            return one.name, bytes(SIZE), None, describe_read_error(error)

    seen = list(progress(map_in_threads(look, stored), n, "looking at sounds"))
    prints = np.frombuffer(b"".join(one[1] for one in seen), dtype=np.uint8).reshape(-1, SIZE)
    return FoundSounds(
        [one[0] for one in seen], prints, [one[2] for one in seen], [one[3] for one in seen]
    )


def decode_once(
    stored: Callable[[], Iterable[UndecodedExample]], found: FoundSounds, rate: int, channels: int
) -> Recordings:
    """Decodes the sounds of a split, or reads them from the cache if it has them.

    Arguments:
        stored: Yields them as they are stored, in the same order each time.
        found: What they are; those that cannot be read are passed over.
        rate: Samples per second wanted.
        channels: 1 or 2.
    """
    versions = [soundfile.__libsndfile_version__, soxr.__version__]
    way = {"sounds": DECODER, "versions": versions, "rate": rate, "channels": channels}
    cache = open_cache(way, (2 * BLOCK * channels,))
    if cache is not None and (entry := cache.find(found.fingerprints)) is not None:
        return _unpacked(entry, channels)
    with tempfile.TemporaryFile(dir=_scratch(cache)) as spool:
        decoded = _decode(stored(), found, rate, channels, spool)
        if cache is not None and _keep(cache, decoded, found):
            entry = cache.find(found.fingerprints)
            if entry is not None:
                return _unpacked(entry, channels)
        return decoded  # the file is gone from its folder, and stays as long as it is mapped


def _scratch(cache: DecodedCache | None) -> Path | None:
    """Returns where there is room for a file of all sounds; None for the usual place."""
    if cache is None:
        return None
    try:
        cache.folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return cache.folder if os.access(cache.folder, os.W_OK) else None


def _decode(
    stored: Iterable[UndecodedExample],
    found: FoundSounds,
    rate: int,
    channels: int,
    spool: IO[bytes],
) -> Recordings:
    """Decodes all sounds into a file, and maps it."""

    def decode(
        pair: tuple[UndecodedExample, str | None],
    ) -> tuple[np.ndarray | None, SoundStatistics | None, str | None]:
        one, fault = pair
        if fault is not None:
            return None, None, fault
        try:
            assert isinstance(one.content, Content)
            samples, known = decode_sound(one.content, rate, channels)
            check_heard(known)
            return samples, known, None
        except (SoundFault, OSError, MemoryError) as error:
            return None, None, describe_read_error(error)

    starts: list[int] = []
    statistics: list[SoundStatistics | None] = []
    faults: list[str | None] = []
    place, n = 0, len(found.names)
    pairs = zip(stored, found.faults, strict=True)
    for samples, known, fault in progress(map_in_threads(decode, pairs), n, "decoding sounds"):
        starts.append(place)
        statistics.append(known)
        faults.append(fault)
        if samples is not None:
            rest = -len(samples) % BLOCK
            spool.write(samples.tobytes() + bytes(2 * channels * rest))
            place += len(samples) + rest
    spool.flush()
    mapped = np.zeros((0,), np.int16)
    if place:
        mapped = np.memmap(spool, dtype=np.int16, mode="r", shape=(place * channels,))
    return Recordings(
        mapped.reshape(-1, channels), np.array(starts, dtype=np.int64), statistics, faults
    )


def _keep(cache: DecodedCache, decoded: Recordings, found: FoundSounds) -> bool:
    """Writes decoded sounds to the cache; returns whether it took them."""
    blocks = len(decoded.samples) // BLOCK
    if not blocks:
        return False
    if not cache.has_room(blocks):
        logger.warning("The sounds are more than the cache may hold: not kept.")
        return False
    try:
        with cache.writing(blocks) as draft:
            whole = decoded.samples.reshape(blocks, -1).view(np.uint8)
            for start in range(0, blocks, PART // BLOCK):
                part = slice(start, start + PART // BLOCK)
                draft.values[part] = whole[part]
            facts = {
                "starts": decoded.starts.tolist(),
                "statistics": [known and list(known) for known in decoded.statistics],
                "faults": decoded.faults,
            }
            draft.finish(np.zeros(blocks, dtype=ROW), facts, found.fingerprints)
    except OSError as error:
        logger.warning("The cache %s cannot be used (%s): nothing is kept.", cache.root, error)
        return False
    return True


def _unpacked(entry: CacheEntry, channels: int) -> Recordings:
    """Returns the sounds of an entry of the cache, whose samples are mapped into memory."""
    facts = entry.facts
    return Recordings(
        entry.values.reshape(-1).view(np.int16).reshape(-1, channels),
        np.array(facts["starts"], dtype=np.int64),
        [None if known is None else SoundStatistics(*known) for known in facts["statistics"]],
        list(facts["faults"]),
    )


def _hash(content: Content) -> bytes:
    """Hashes stored bytes as `fingerprint` does, a part at a time."""
    digest = hashlib.blake2b(digest_size=SIZE)
    if isinstance(content, Path):
        with content.open("rb") as file:
            while part := file.read(PART):
                digest.update(part)
    else:
        digest.update(content)
    return digest.digest()
