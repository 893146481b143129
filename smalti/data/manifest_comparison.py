"""Compares the data as they are now with the manifest of a run.

Examples are the same where their fingerprints are; names do not matter. Copies are told apart by
label, then by split. What is found in both is given in the order of the manifest, with the split
and the label that it has there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalti.conditions import Caption, Conditions, Label
from smalti.data.captions import encode_captions
from smalti.data.manifest import SPLITS, Manifest, manifest_columns, without_location
from smalti.data.several_labels import rows_of
from smalti.data.source import Batch, Examples, Splits
from smalti.data.splitting import SIZE, fingerprint
from smalti.name_array import NameArray

__all__ = ["ManifestComparison", "manifest_from_examples", "merge_manifests", "select_examples"]

NAMED = 3  # examples that a message names
READ = 256  # examples read at a time


@dataclass(frozen=True)
class ManifestComparison:
    """Compares two manifests of data that should be the same.

    Arguments:
        there: The manifest of the run.
        here: The manifest of the data as they are now.
    """

    there: Manifest
    here: Manifest

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows of `there`, in order, and those of `here` that are the same examples."""
        if self._same_rows():  # as nearly always, and found out in no time
            rows = np.arange(len(self.there))
            return rows, rows
        wanted, found = [], []
        left_there, left_here = np.arange(len(self.there)), np.arange(len(self.here))
        for there, here in _keys(self.there, self.here):
            a, b = _common(there[left_there], here[left_here])
            wanted.append(left_there[a])
            found.append(left_here[b])
            left_there, left_here = np.delete(left_there, a), np.delete(left_here, b)
        rows, same = np.concatenate(wanted), np.concatenate(found)
        order = np.argsort(rows)
        return rows[order], same[order]

    def _same_rows(self) -> bool:
        """Returns whether both have the same examples, labels and splits of the set, in order."""
        there, here = self.there, self.here
        return (
            np.array_equal(there.fingerprints, here.fingerprints)
            and np.array_equal(there.found_in, here.found_in)
            and np.array_equal(*_label_numbers(there, here))
        )

    @cached_property
    def missing(self) -> np.ndarray:
        """Returns the rows of `there` that are not here."""
        return _others(len(self.there), self.pairs[0])

    @cached_property
    def added(self) -> np.ndarray:
        """Returns the rows of `here` that are not there."""
        return _others(len(self.here), self.pairs[1])

    @cached_property
    def relabelled(self) -> np.ndarray:
        """Returns which pairs have another label."""
        old, new = _label_numbers(self.there, self.here)
        return np.flatnonzero(old[self.pairs[0]] != new[self.pairs[1]])

    @cached_property
    def moved(self) -> np.ndarray:
        """Returns which pairs the data set itself puts into another split."""
        there, here = self.pairs
        return np.flatnonzero(self.there.found_in[there] != self.here.found_in[here])

    @cached_property
    def sources(self) -> list[str]:
        """Differences in how the examples are read or made, in words."""
        there, here = self.there.source, self.here.source
        return (
            _changed(without_location(there), without_location(here), "data")
            if there and here
            else []
        )

    def differences(self) -> list[str]:
        """Lists the differences in words; empty if there are none."""
        words = [
            *self.sources,
            *self._listed(self.here, self.added, "new"),
            *self._listed(self.there, self.missing, "missing or changed"),
        ]
        if len(self.relabelled):
            words.append(self._labels_in_words())
        if len(self.moved):
            rows = self.pairs[1][self.moved]
            words += self._listed(self.here, rows, "in another split than before")
        return words

    @staticmethod
    def _listed(manifest: Manifest, rows: np.ndarray, what: str) -> list[str]:
        if not len(rows):
            return []
        named = ", ".join(manifest.name(row) for row in rows[:NAMED]) + ", …" * (len(rows) > NAMED)
        return [f"{len(rows)} {'is' if len(rows) == 1 else 'are'} {what} ({named})"]

    def _labels_in_words(self) -> str:
        """Says how many examples have another label, with the most frequent changes."""
        there, here = (rows[self.relabelled] for rows in self.pairs)
        changes = Counter(
            (self.there.label_name(a) or "none", self.here.label_name(b) or "none")
            for a, b in zip(there.tolist(), here.tolist(), strict=True)
        )
        some = [f"{old} is now {new}" for (old, new), _ in changes.most_common(NAMED)]
        more = ", …" * (len(changes) > NAMED)
        n = len(self.relabelled)
        word = "caption" if self.there.captions else "label"
        return f"{n} {'has' if n == 1 else 'have'} another {word} ({', '.join(some)}{more})"


def select_examples(splits: Splits, comparison: ManifestComparison) -> Splits:
    """Selects the examples of the run's manifest from the data, in its order, splits and labels.

    Arguments:
        splits: The data as they are now.
        comparison: The run's manifest compared with that of `splits`.
    """
    there, here, (found, same) = comparison.there, comparison.here, comparison.pairs
    whole = len(found) == len(there) == len(here) and not len(comparison.relabelled)
    if whole and (same == found).all() and (there.splits == here.splits).all():
        if there.label_names == here.label_names:
            return splits._replace(manifest=there)
    condition, captions = splits.condition, there.captions and there.label_names is not None
    labelled = there.label_names is not None or isinstance(condition, Label | Caption)
    labels = torch.from_numpy(there.labels[found].astype(np.int64)) if there.label_names else None
    if captions:
        assert labels is not None and there.label_names is not None
        trained = there.labels[there.splits == 0].tolist()
        condition, table = encode_captions(there.label_names, trained)
        labels = table[labels]
    elif isinstance(condition, Conditions) and labels is not None:
        labels = rows_of(condition, there.label_names or ())[labels]
    chosen: dict[str, Any] = {}
    for number, name in enumerate(SPLITS):
        mine = torch.from_numpy(np.flatnonzero(there.splits[found] == number))
        chosen[name] = _Chosen(
            _parts(splits),
            torch.from_numpy(same)[mine],
            labels[mine] if labels is not None else None,
            labelled,
        )
    if labelled and not captions and not isinstance(condition, Conditions):
        name = condition.name if isinstance(condition, Label) else "label"
        condition = Label(list(there.label_names), name) if there.label_names else None
    return splits._replace(**chosen, condition=condition, manifest=there)


def merge_manifests(comparison: ManifestComparison) -> Manifest:
    """Makes a manifest of the data as they are now, in which known examples keep their split.

    A new example goes where its copies are; else where the data set or its hash puts it, but to
    training where its label has no example there. Captions need none there.

    Arguments:
        comparison: The run's manifest compared with that of the data as they are now.
    """
    there, here, (found, same) = comparison.there, comparison.here, comparison.pairs
    splits, new = here.splits.copy(), comparison.added
    splits[same] = there.splits[found]
    old, mine = (_prints(manifest) for manifest in (there, here))
    known, first = np.unique(old, return_index=True)
    place = np.searchsorted(known, mine[new]).clip(max=max(0, len(known) - 1))
    copies = known[place] == mine[new] if len(known) else np.zeros(len(new), dtype=bool)
    splits[new[copies]] = there.splits[first[place[copies]]]

    free = new[~copies & (here.found_in[new] == 0)]
    trained = np.unique(here.labels[splits == 0])
    _, alone = np.unique(here.labels[free], return_index=True)
    without = free[alone][~np.isin(here.labels[free[alone]], trained)]
    if here.captions:  # of which nobody needs one of each to train on
        without = without[:0]
    splits[np.isin(mine, mine[without]) & np.isin(np.arange(len(mine)), free)] = 0

    rank = np.arange(len(here)) + len(there)
    rank[same] = found
    order = np.lexsort((rank, splits))
    return replace(
        here,
        fingerprints=here.fingerprints[order],
        splits=splits[order],
        labels=here.labels[order],
        found_in=here.found_in[order],
        names=here.names.take(order)
        if isinstance(here.names, NameArray)
        else [here.name(row) for row in order],
        recipe=there.recipe,
        recipe_before=there.recipe_before,
        earlier=(*there.earlier, there.checksum),
    )


def manifest_from_examples(splits: Splits, synthetic: bool) -> Manifest:
    """Makes the manifest of a data set whose source gives none, from its examples.

    Arguments:
        splits: The data.
        synthetic: Whether the data are drawn by a program: the manifest then lists no examples,
            since the arguments of the source determine them. Otherwise each example is read, and
            its fingerprint is a digest of its values.
    """
    parts = _parts(splits)
    if synthetic or any(part.endless for part in parts):
        return Manifest(**manifest_columns(b"", [], [], [], []))
    named = isinstance(splits.condition, Label)
    prints: list[bytes] = []
    labels: list[int] = []
    numbers, names = [], []
    for number, part in enumerate(parts):
        for start in range(0, len(part), READ):
            indices = range(start, min(start + READ, len(part)))
            x, conditions = part.__getitems__(indices)
            given = conditions if conditions is not None else torch.full((len(x),), -1)
            for row, value in zip(x, given, strict=True):
                extra = b"" if named else value.numpy().tobytes()
                prints.append(fingerprint(fingerprint(row.numpy()) + extra))
            labels += given.tolist() if named else [-1] * len(x)
            names += [f"{SPLITS[number]} example {index}" for index in indices]
        numbers += [number] * len(part)
    condition = splits.condition
    return Manifest(
        **manifest_columns(b"".join(prints), numbers, labels, numbers, names),
        label_names=tuple(condition.names) if isinstance(condition, Label) else None,
    )


def _parts(splits: Splits) -> list[Examples]:
    """Returns the splits that there are, in the order of `SPLITS`."""
    return [splits.train, splits.validation, splits.test]


class _Chosen(Examples):
    """Some examples of several sets, with labels in place of their conditions.

    Arguments:
        parts: The sets.
        rows: (N,), int64: the number of each example in all sets laid end to end.
        labels: (N,), int64, or captions (N, L), which take the place of the conditions.
        labelled: Whether they do, also where they are None.
    """

    def __init__(
        self, parts: Sequence[Examples], rows: Tensor, labels: Tensor | None, labelled: bool
    ) -> None:
        self.parts, self.labels, self.labelled = parts, labels, labelled
        self.varies = any(part.varies for part in parts)
        self.starts = torch.tensor([0, *map(len, parts)]).cumsum(0)
        self.part = torch.searchsorted(self.starts, rows, right=True) - 1
        self.row = rows - self.starts[self.part]

    def __len__(self) -> int:
        return len(self.row)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        found = [(where, part.__getitems__(rows).x) for part, where, rows in self._at(chosen)]
        return self._joined(indices, found)

    def varied(self, indices: Sequence[int], versions: Sequence[int]) -> Batch:
        chosen, found = torch.as_tensor(indices, dtype=torch.int64), []
        for part, where, rows in self._at(chosen):
            numbers = [versions[place] for place in where.tolist()]
            found.append((where, part.varied(rows, numbers).x))
        return self._joined(indices, found)

    def _joined(self, indices: Sequence[int], found: Sequence[tuple[Tensor, Tensor]]) -> Batch:
        """Returns the signals of several parts in the order of a batch."""
        x = torch.cat([x for _, x in found])
        order = torch.cat([where for where, _ in found]).argsort()
        return Batch(x[order], self.conditions_at(indices))

    def conditions_at(self, indices: Sequence[int]) -> Tensor | None:
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        if self.labelled:
            return None if self.labels is None else self.labels[chosen]
        found = [(where, part.conditions_at(rows)) for part, where, rows in self._at(chosen)]
        conditions = [condition for _, condition in found if condition is not None]
        if not conditions:
            return None
        return torch.cat(conditions)[torch.cat([where for where, _ in found]).argsort()]

    def _at(self, chosen: Tensor) -> Iterator[tuple[Examples, Tensor, list[int]]]:
        """Yields each part that is needed, the places in a batch that it fills, and its rows."""
        for number in self.part[chosen].unique().tolist():
            where = (self.part[chosen] == number).nonzero()[:, 0]
            yield self.parts[number], where, self.row[chosen[where]].tolist()


def _others(n: int, rows: np.ndarray) -> np.ndarray:
    """Returns the numbers below n that are not among these rows, in order."""
    left = np.ones(n, dtype=bool)
    left[rows] = False
    return np.flatnonzero(left)


def _prints(manifest: Manifest) -> np.ndarray:
    """Returns (N,): each fingerprint as one value."""
    return np.ascontiguousarray(manifest.fingerprints).view(f"V{SIZE}").ravel()


def _label_numbers(there: Manifest, here: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the labels of both, (N,) and (M,), equal where the names are; 0 for none."""
    words = {
        name: n for n, name in enumerate([*(there.label_names or ()), *(here.label_names or ())])
    }
    old, new = (
        np.array([*(1 + words[name] for name in manifest.label_names or ()), 0])[manifest.labels]
        for manifest in (there, here)
    )
    return old, new


def _keys(there: Manifest, here: Manifest) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns keys that are equal where examples match: in all; content and label; content."""
    n = len(there)
    _, content = np.unique(np.concatenate([_prints(there), _prints(here)]), return_inverse=True)
    content = content.reshape(-1)
    labels = np.concatenate(_label_numbers(there, here))
    with_label = content * (labels.max(initial=0) + 1) + labels
    whole = with_label * len(SPLITS) + np.concatenate([there.found_in, here.found_in])
    return [(keys[:n], keys[n:]) for keys in (whole, with_label, content)]


def _common(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places in a and in b of what is in both, each used once."""
    times = max(len(a), len(b), 1)
    _, of_a, of_b = np.intersect1d(
        a * times + _times_before(a),
        b * times + _times_before(b),
        assume_unique=True,
        return_indices=True,
    )
    return of_a, of_b


def _times_before(keys: np.ndarray) -> np.ndarray:
    """Counts how often each key came before."""
    order = np.argsort(keys, kind="stable")
    places = np.arange(len(keys))
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    before = np.empty_like(places)
    before[order] = places - np.repeat(starts, np.diff(starts, append=len(keys)))
    return before


def _changed(there: object, here: object, path: str) -> list[str]:
    """Says where two descriptions differ. What one of them does not mention is left
    out.
    """
    if isinstance(there, dict) and isinstance(here, dict):
        both = [name for name in there if name in here]
        return [w for name in both for w in _changed(there[name], here[name], f"{path}.{name}")]
    return [] if there == here else [f"{path} was {there} and is {here}"]
