"""Chooses which examples are held out by a hash of their content, not by their order.

The fingerprint of an example is a hash of its stored content. Hashed once more with the seed and
the name of the split, it falls evenly into [0, 1), and an example is held out where it falls below
the share wanted:

    u = hash(fingerprint; split, seed) ∈ [0, 1),    held out ⇔ u < share

So whether an example is held out does not depend on what else there is: new files, other names and
another order change nothing for those that were there, and exact copies are always together. What
such a rule alone cannot promise is seen to afterwards, by moving as few as possible:

* every label keeps an example to train on: of a label whose examples all fell below the share, the
  one that fell highest is not held out;
* at least a quarter of the share is held out, and at least one example: where that fails, those
  that fell lowest are added, from labels that keep another, as long as there are any.

These few can change sides when files are added. A run is safe from that: it keeps the split of its
examples in its manifest (`smalti.data.manifest`), and only new ones are split by their hash.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from smalti.counting import counted
from smalti.errors import InputError

__all__ = [
    "FingerprintGroups",
    "SplitFractions",
    "SIZE",
    "copy_sizes",
    "fingerprint",
    "held_out_mask",
    "share_of_hash",
]

SIZE = 16  # bytes of a fingerprint
CHUNK = 65_536  # fingerprints that are hashed at a time


@dataclass(frozen=True)
class SplitFractions:
    """The shares of the training examples to hold out, for splits that a data set does not have.

    Arguments:
        test: Share of all examples that becomes the test split.
        validation: Share of the remaining ones that becomes the validation split.
        seed: Another seed holds out other examples.

    Raises:
        InputError: If a share is not between 0 and 1.
    """

    test: float = 0.1
    validation: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for what, share in ("test", self.test), ("validation", self.validation):
            if not 0 < share < 1:
                raise InputError(
                    f"The share held out for {what} is between 0 and 1, got {share}: "
                    f"choose e.g. 0.1."
                )


def fingerprint(content: bytes | np.ndarray) -> bytes:
    """Hashes the stored content of an example: the bytes of a file, or an array and its shape.

    Example:
        >>> fingerprint(b"koala") == fingerprint(b"koala"), len(fingerprint(b"koala"))
        (True, 16)
    """
    if isinstance(content, bytes):
        return hashlib.blake2b(content, digest_size=SIZE).digest()
    digest = hashlib.blake2b(f"{content.dtype.str}{content.shape}".encode(), digest_size=SIZE)
    digest.update(np.ascontiguousarray(content).data)
    return digest.digest()


def share_of_hash(fingerprints: np.ndarray, split: str, seed: int) -> np.ndarray:
    """Hashes fingerprints (N, 16), uint8, with split and seed to uniform numbers (N,) in [0, 1).

    Example:
        >>> prints = np.stack([np.frombuffer(fingerprint(bytes([i])), np.uint8) for i in range(99)])
        >>> bool((share_of_hash(prints, "test", 0) < 0.5).mean().round(1) == 0.5)
        True
    """
    key = hashlib.blake2b(f"{split} {seed}".encode(), digest_size=32).digest()
    begun = hashlib.blake2b(key=key, digest_size=8)
    content = np.ascontiguousarray(fingerprints).tobytes()

    def hashed_one(place: int) -> bytes:
        digest = begun.copy()  # faster than to begin with the key each time
        digest.update(content[place : place + SIZE])
        return digest.digest()

    shares = np.empty(len(content) // SIZE)
    for start in range(0, len(shares), CHUNK):  # so that few are Python's at a time
        part = shares[start : start + CHUNK]
        places = range(start * SIZE, (start + len(part)) * SIZE, SIZE)
        hashed = np.frombuffer(b"".join(map(hashed_one, places)), dtype="<u8")
        part[:] = (hashed >> 11) / 2.0**53
    return shares


class FingerprintGroups:
    """Groups of examples with equal fingerprints, which stay in one split.

    Arguments:
        fingerprints: (N, 16), uint8.

    Attributes:
        group_of: (N,), the index of each example's group.
        first: (G,), the index of one example in each group.
        sizes: (G,), the number of examples in each group.
    """

    def __init__(self, fingerprints: np.ndarray) -> None:
        prints = np.ascontiguousarray(fingerprints)
        # By half of it, which sorts several times as fast, unless that is not enough.
        half, other = prints.view(">u8").astype(np.uint64).reshape(-1, 2).T
        self.first, self.group_of, self.sizes = _unique(half)
        if not np.array_equal(other, other[self.first[self.group_of]]):
            self.first, self.group_of, self.sizes = _unique(prints.view(f"V{SIZE}").ravel())

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the examples (N,), group by group, and where each group ends."""
        return np.argsort(self.group_of, kind="stable"), self.sizes.cumsum()

    def members(self, group: int) -> np.ndarray:
        """Returns the examples of a group."""
        order, ends = self._sorted
        return order[ends[group] - self.sizes[group] : ends[group]]


def copy_sizes(fingerprints: np.ndarray) -> np.ndarray:
    """Returns how many examples have each fingerprint that several have, (G,), in any order.

    Arguments:
        fingerprints: (N, 16), uint8.

    Example:
        >>> copy_sizes(np.repeat(np.eye(3, 16, dtype=np.uint8), [1, 3, 2], axis=0)).tolist()
        [2, 3]
    """
    prints = np.ascontiguousarray(fingerprints)
    half = np.sort(prints.view("<u8").reshape(-1, 2)[:, 0])
    if (half[1:] != half[:-1]).all():  # which takes a fifth of the memory to see
        return np.zeros(0, dtype=np.int64)
    del half
    sizes = FingerprintGroups(prints).sizes
    return sizes[sizes > 1]


def _unique(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the first place, the inverse and the counts of each key."""
    _, first, of, sizes = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    return first, of.reshape(-1), sizes


def held_out_mask(
    fingerprints: np.ndarray, labels: np.ndarray | None, split: str, share: float, seed: int
) -> np.ndarray:
    """Chooses the examples that are held out for a split: a mask (N,), bool, True where held out.

    An example is chosen by the hash of its fingerprint, the split and the seed, so copies stay
    together, and new examples hardly change the choice. Of each label at least one example stays.

    Arguments:
        fingerprints: (N, 16), uint8.
        labels: (N,), whole numbers from 0; None for data without labels.
        split: Name of the split.
        share: Share of the examples that is held out, between 0 and 1.
        seed: Another seed holds out other examples.

    Raises:
        InputError: If there are fewer than two different examples.
    """
    n, groups = len(fingerprints), FingerprintGroups(fingerprints)
    if len(groups.sizes) < 2:
        raise InputError(
            "Training, validation and test need an example each, all different, got "
            f"{counted(n, 'example')}, "
            f"of which {len(groups.sizes)} can be told apart: add others."
        )
    u = share_of_hash(fingerprints[groups.first], split, seed)
    labels = np.zeros(n, dtype=np.int64) if labels is None else labels
    held = u < share
    _give_back(held, u, groups, labels)
    _hold_more(held, u, groups, labels, max(1, round(share * n / 4)))
    return held[groups.group_of]


def _give_back(
    held: np.ndarray, u: np.ndarray, groups: FingerprintGroups, labels: np.ndarray
) -> None:
    """Gives back, of each label that is held out whole, the example with the highest u."""
    kept = np.bincount(labels, weights=~held[groups.group_of])
    if (kept > 0).all():
        return
    without = (kept == 0)[labels]  # examples of such labels
    order = np.argsort(u[groups.group_of], kind="stable")
    last = {int(labels[row]): int(groups.group_of[row]) for row in order[without[order]]}
    held[list(last.values())] = False


def _hold_more(
    held: np.ndarray, u: np.ndarray, groups: FingerprintGroups, labels: np.ndarray, least: int
) -> None:
    """Holds out at least so many, the lowest first."""
    count = int(groups.sizes[held].sum())
    if count >= least:
        return
    order = np.argsort(u, kind="stable")
    left = np.bincount(labels, weights=~held[groups.group_of])
    spared = []
    for group in order[~held[order]]:
        mine, times = np.unique(labels[groups.members(group)], return_counts=True)
        if count < least and (left[mine] > times).all():
            left[mine] -= times
            held[group] = True
            count += groups.sizes[group]
        elif count < least:
            spared.append(group)
    for group in spared[:-1]:  # no label has another left
        if count < least:
            held[group] = True
            count += groups.sizes[group]
