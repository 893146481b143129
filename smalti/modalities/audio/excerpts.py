"""Examples that are excerpts of sounds, cut out when a batch is asked for.

A recording of L samples gives ⌈L / T⌉ excerpts of T, from its first sample to its last, evenly
spaced, so that they overlap a little. One that is shorter than T is its own excerpt, with silence
after it. In training each excerpt begins anywhere in its recording, in each version of it
elsewhere: where, is a hash of the version and the number of the excerpt alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from smalti.data.source import Batch, StoredExamples

__all__ = ["Cuts", "StoredExcerpts", "cut_excerpts"]

SCALE = np.float32(1 / 32768)


class Cuts(NamedTuple):
    """Where excerpts lie in the samples of all recordings.

    Attributes:
        recordings: (N,), int64: the recording of each excerpt.
        begins: (N,), int64: the first sample of that recording.
        lengths: (N,), int64: its length.
        offsets: (N,), int64: the first sample of the excerpt, counted from there.
        gains: (N,), float32: what its samples are multiplied by.
    """

    recordings: np.ndarray
    begins: np.ndarray
    lengths: np.ndarray
    offsets: np.ndarray
    gains: np.ndarray

    def take(self, rows: np.ndarray) -> Cuts:
        """Returns the excerpts with these indices."""
        return Cuts(*(column[rows] for column in self))


class StoredExcerpts(StoredExamples):
    """Examples that are excerpts of recordings.

    Arguments:
        samples: (S, C), int16: all recordings, one after another; may be mapped into memory.
        cuts: Where the excerpts lie.
        size: T, the samples of an excerpt.
        values: The conditions (N,), or None.

    Example:
        >>> samples = (np.arange(8, dtype=np.int16) * 4096).reshape(8, 1)
        >>> examples = StoredExcerpts(samples, cut_excerpts(np.array([2]), np.array([5]), 4), 4)
        >>> examples.__getitems__([0, 1]).x[:, 0]
        tensor([[0.2500, 0.3750, 0.5000, 0.6250],
                [0.3750, 0.5000, 0.6250, 0.7500]])
    """

    varies = True

    def __init__(
        self, samples: np.ndarray, cuts: Cuts, size: int, values: Tensor | None = None
    ) -> None:
        self.samples, self.cuts, self.size, self.values = samples, cuts, size, values

    def __len__(self) -> int:
        return len(self.cuts.offsets)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        rows = np.asarray(indices, dtype=np.int64)
        return self._cut(rows, self.cuts.offsets[rows])

    def varied(self, indices: Sequence[int], versions: Sequence[int]) -> Batch:
        """See `Examples.varied`: each excerpt begins anywhere in its recording."""
        rows = np.asarray(indices, dtype=np.int64)
        numbers = np.array([version % 2**64 for version in versions], dtype=np.uint64)
        room = np.maximum(self.cuts.lengths[rows] - self.size, 0)
        offsets = np.floor(_uniform(rows.astype(np.uint64), numbers) * (room + 1)).astype(np.int64)
        return self._cut(rows, offsets)

    def conditions_at(self, indices: Sequence[int]) -> Tensor | None:
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return None if self.values is None else self.values[rows]

    def take(self, indices: Tensor) -> Self:
        """Returns the excerpts with these indices (K,), int64; the samples are shared."""
        values = None if self.values is None else self.values[indices]
        return type(self)(self.samples, self.cuts.take(indices.numpy()), self.size, values)

    def _cut(self, rows: np.ndarray, offsets: np.ndarray) -> Batch:
        """Returns what begins at these offsets (B,)."""
        x = np.zeros((len(rows), self.samples.shape[1], self.size), dtype=np.float32)
        for place, (row, offset) in enumerate(zip(rows, offsets, strict=True)):
            length = min(self.size, self.cuts.lengths[row] - offset)
            first = self.cuts.begins[row] + offset
            gain = SCALE * self.cuts.gains[row]
            np.multiply(self.samples[first : first + length].T, gain, out=x[place, :, :length])
        return Batch(torch.from_numpy(x), self.conditions_at(rows))  # type: ignore[arg-type]


def cut_excerpts(
    begins: np.ndarray, lengths: np.ndarray, size: int, gains: np.ndarray | None = None
) -> Cuts:
    """Places excerpts of `size` samples evenly over recordings.

    Arguments:
        begins: (N,), int64: the first sample of each recording.
        lengths: (N,), int64: the samples of each; of none with 0.
        size: The samples of an excerpt.
        gains: (N,), float32: what samples are multiplied by; 1 if not given.
    """
    counts = -(-lengths // size)
    recordings = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(recordings)) - np.repeat(np.cumsum(counts) - counts, counts)
    room = np.maximum(lengths - size, 0)[recordings]
    offsets = number * room // np.maximum(counts[recordings] - 1, 1)
    gains = np.ones(len(lengths), np.float32) if gains is None else gains.astype(np.float32)
    return Cuts(recordings, begins[recordings], lengths[recordings], offsets, gains[recordings])


def _uniform(rows: np.ndarray, versions: np.ndarray) -> np.ndarray:
    """Hashes two columns of whole numbers to uniform ones in [0, 1), by SplitMix64's finaliser."""
    with np.errstate(over="ignore"):
        return (_mixed(_mixed(versions) ^ rows) >> np.uint64(11)) * 2.0**-53


def _mixed(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
