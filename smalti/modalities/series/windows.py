"""Cuts series into windows, and groups those that are held out together.

Series are cut into windows of `size` steps, one every `stride`; the last one ends where the series
does. A series shorter than a window is one window that ends in a gap.

What is held out are whole series where these have ids, or are ten at least. Of fewer, blocks of a
few windows' length are held out: a window belongs to the block in which it begins, and one that
reaches into a block of another split is left out, so that no step is in two splits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from smalti.data.splitting import SIZE, fingerprint
from smalti.modalities.series.recordings import Recording, split_at_jumps

__all__ = ["Windows", "cut_windows", "most_frequent", "choose_size", "choose_stride"]

BLOCKS = (4, 2)  # windows' length of a block that is held out: the first of which there are 20
ENOUGH_BLOCKS = 20
SHORTEST = 8  # a piece of less than this part of a window is left out
LONG, USUAL, LEAST = 256, 128, 16  # steps
ENOUGH = 64  # windows of the usual size
MANY = 1000  # windows: of fewer, more overlap


class Windows(NamedTuple):
    """The positions of N windows in some series, laid one after another: (steps, C).

    Attributes:
        starts: (N,), int64: the first step of each window.
        lengths: (N,), int64: the number of its steps; the rest of a window is a gap.
        series: (N,), int64: the index of its series.
        edges: (K,), int64: the first step of each part that is held out as a whole, in order.
        keys: (K, 16), uint8: equal for parts that are held out together.
        padded: The number of pieces that were shorter than a window.
        dropped: The number of pieces that were too short, and left out.
    """

    starts: np.ndarray
    lengths: np.ndarray
    series: np.ndarray
    edges: np.ndarray
    keys: np.ndarray
    padded: int
    dropped: int

    def groups(self, places: np.ndarray) -> np.ndarray:
        """Returns the keys of the parts that steps (n,) lie in, (n, 16)."""
        return self.keys[np.searchsorted(self.edges, places, side="right") - 1]


def cut_windows(recordings: Sequence[Recording], size: int, stride: int, blocks: bool) -> Windows:
    """Cuts series into windows: their positions, and groups that are held out together.

    Arguments:
        recordings: The series.
        size: Steps of a window.
        stride: Steps from one window to the next.
        blocks: Whether blocks within series are held out, else whole series.
    """
    starts: list[int] = []
    lengths: list[int] = []
    series: list[int] = []
    edges: list[int] = []
    keys: list[bytes] = []
    padded = dropped = offset = 0
    long = _block(recordings, size)
    for number, recording in enumerate(recordings):
        shared = b"" if blocks else _key(recording)
        for begin, end in split_at_jumps(recording):
            parts = _blocks(begin, end, long, size) if blocks else [(begin, end)]
            edges += [offset + first for first, _ in parts]
            keys += [shared or _content(recording.values[slice(*part)]) for part in parts]
            if end - begin < max(2, size // SHORTEST):
                dropped += 1
                continue
            padded += end - begin < size
            for start in _starts(begin, end, size, stride):
                length = min(size, end - start)
                if not np.isnan(recording.values[start : start + length]).all():
                    starts.append(offset + start)
                    lengths.append(length)
                    series.append(number)
        offset += len(recording.values)
    return Windows(
        np.array(starts, dtype=np.int64),
        np.array(lengths, dtype=np.int64),
        np.array(series, dtype=np.int64),
        np.array(edges, dtype=np.int64),
        np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, SIZE),
        padded,
        dropped,
    )


def choose_size(lengths: Sequence[int]) -> int:
    """Chooses the size of windows by the lengths of the series, if the user gives none.

    That is the longest, where there are ten or more of at most 256 steps. Else 128, or half as many
    or fewer, 16 at least, where the series are short.

    Example:
        >>> choose_size([100] * 40), choose_size([7000]), choose_size([500])
        (100, 128, 16)
    """
    if len(lengths) >= 10 and max(lengths) <= LONG:
        return max(lengths)
    size = USUAL
    while size > LEAST and 2 * sum(lengths) < ENOUGH * size:
        size //= 2
    return size


def choose_stride(lengths: Sequence[int], size: int) -> int:
    """Chooses the stride between windows, in steps, if the user gives none.

    That is half a window; a quarter or an eighth if there would be fewer than 1000 windows.

    Example:
        >>> choose_stride([7040], 128), choose_stride([10**6], 128), choose_stride([100] * 40, 100)
        (16, 64, 12)
    """
    stride = max(1, size // 2)
    while sum(lengths) < MANY * stride and stride > max(1, size // SHORTEST):
        stride = max(1, stride // 2)
    return stride


def most_frequent(codes: np.ndarray) -> int:
    """Returns the most frequent of codes (n,) other than -1, the lowest of several; else -1.

    Example:
        >>> most_frequent(np.array([2, 1, -1, 2, 1])), most_frequent(np.array([-1]))
        (1, -1)
    """
    there = codes[codes >= 0]
    return int(np.bincount(there).argmax()) if len(there) else -1


def _block(recordings: Sequence[Recording], size: int) -> int:
    """Returns the steps of a block."""
    steps = sum(len(one.values) for one in recordings)
    enough = [n for n in BLOCKS if steps >= ENOUGH_BLOCKS * n * size]
    return size * (enough or [min(BLOCKS)])[0]


def _blocks(begin: int, end: int, long: int, size: int) -> list[tuple[int, int]]:
    """Cuts a piece into blocks; one that is shorter than a window belongs to that before it."""
    edges = list(range(begin, end, long))
    if len(edges) > 1 and end - edges[-1] < size:
        edges.pop()
    return list(zip(edges, [*edges[1:], end], strict=True))


def _starts(begin: int, end: int, size: int, stride: int) -> list[int]:
    """Returns where the windows between two steps begin."""
    last = max(begin, end - size)
    starts = list(range(begin, last + 1, stride))
    return starts if starts[-1] == last else [*starts, last]


def _key(recording: Recording) -> bytes:
    """Returns what the windows of a series have in common: its id, or its content."""
    if recording.unit is not None:
        return fingerprint(f"id {recording.unit}".encode(errors="surrogateescape"))
    return _content(recording.values)


def _content(values: np.ndarray) -> bytes:
    """Hashes values, every NaN alike."""
    plain = np.where(np.isnan(values), np.float32(np.nan), values).astype("<f4")
    start = f"{plain.shape}".encode()
    return hashlib.blake2b(start + plain.tobytes(), digest_size=SIZE).digest()
