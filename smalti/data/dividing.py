"""Divides a data set into training, validation and test, and makes its manifest.

What a data set does not set apart itself is held out from its training examples: first the test
examples, then those for validation (`smalti.data.splitting`).
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from smalti.conditions import Label
from smalti.data.manifest import SPLITS, Manifest, manifest_columns
from smalti.data.source import FOUND, StoredExamples
from smalti.data.splitting import FingerprintGroups, SplitFractions, held_out_mask
from smalti.errors import InputError
from smalti.name_array import NameArray
from smalti.signals import Signal

__all__ = ["SplitExamples", "divide_in_splits", "make_manifest"]

logger = logging.getLogger(__name__)
found_logger = logging.getLogger(FOUND)


class SplitExamples(NamedTuple):
    """The examples of one split, with the name and the fingerprint of each.

    Attributes:
        found_in: The split that the data set itself puts them into; what is held out of the
            training examples was found in "train".
        examples: N of them.
        fingerprints: (N, 16), uint8; equal for copies, see `smalti.data.splitting`.
        names: What each is called, for messages.
        groups: (N, 16), uint8; equal for examples that stay together, such as parts of one
            recording; None where only copies do.
    """

    found_in: str
    examples: StoredExamples
    fingerprints: np.ndarray
    names: Sequence[str]
    groups: np.ndarray | None = None

    @property
    def together(self) -> np.ndarray:
        """Returns hashes (N, 16), uint8, equal for examples that must be held out together."""
        return self.fingerprints if self.groups is None else self.groups

    def take(self, chosen: Tensor) -> SplitExamples:
        """Selects the examples that are chosen (N,), bool."""
        rows = chosen.nonzero()[:, 0]
        return self._replace(
            examples=self.examples.take(rows),
            fingerprints=self.fingerprints[chosen.numpy()],
            groups=None if self.groups is None else self.groups[chosen.numpy()],
            names=self.names.take(rows.numpy())
            if isinstance(self.names, NameArray)
            else list(itertools.compress(self.names, chosen.tolist())),
        )


def divide_in_splits(
    given: Mapping[str, SplitExamples],
    fractions: SplitFractions,
    signal_class: type[Signal],
    *,
    by_order: bool = False,
    by_label: bool = True,
) -> dict[str, SplitExamples]:
    """Divides a data set in three: a missing validation or test split is held out of "train".

    Arguments:
        given: The splits that the data set has, "train" among them.
        fractions: Shares of the training examples that are held out, and the seed.
        signal_class: The class of the signals.
        by_order: Hold out by position, not by content: for old runs without a manifest.
        by_label: Whether every label keeps an example to train on; of captions it need not.

    Raises:
        InputError: If there are too few examples for the splits.
    """
    parts = dict(given)
    if not by_order:
        _check_enough(parts["train"], 1 + len(set(SPLITS) - parts.keys()), signal_class)
    generator = torch.Generator().manual_seed(fractions.seed)
    for split, share in ("test", fractions.test), ("validation", fractions.validation):
        if split not in parts:
            train = parts["train"]
            if by_order:
                held = _by_order(train, share, generator)
            else:
                held = _by_content(train, split, share, fractions.seed, by_label)
            parts["train"], parts[split] = train.take(~held), train.take(held)
    found_logger.info(_split_line(parts, given))
    return parts


def _check_enough(train: SplitExamples, splits: int, signal_class: type[Signal]) -> None:
    """Raises `InputError` where the training examples are too few for so many splits."""
    n, different = len(train.names), len(FingerprintGroups(train.together).sizes)
    if different < splits:
        apart = "" if different == n else f", of which {different} can be told apart"
        raise InputError(
            f"Training, validation and test need {signal_class.plural} of their own, all "
            f"different: {splits} are needed here, got {n}{apart}: add other {signal_class.plural}."
        )


def _by_content(part: SplitExamples, split: str, share: float, seed: int, by_label: bool) -> Tensor:
    """Returns which examples are held out (N,), bool: by their content."""
    labels = part.examples.conditions if by_label else None
    numbers = None if labels is None else labels.numpy()
    return torch.from_numpy(held_out_mask(part.together, numbers, split, share, seed))


def _by_order(part: SplitExamples, share: float, generator: torch.Generator) -> Tensor:
    """Returns which examples are held out (N,), bool: at random places."""
    n = len(part.names)
    if n < 2:
        raise InputError(
            "Training, validation and test need an example each, got too few: add some."
        )
    order = torch.randperm(n, generator=generator)
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[order[: min(max(1, round(share * n)), n - 1)]] = True
    return chosen


def _split_line(parts: Mapping[str, SplitExamples], given: Collection[str]) -> str:
    """Says how many examples each split has, and whether it was given or held out."""
    sizes = [
        f"{split} {len(parts[split].names)} ({'given' if split in given else 'held out'})"
        for split in SPLITS[1:]
    ]
    return f"to train on: {len(parts['train'].names)}; {', '.join(sizes)}"


def make_manifest(
    parts: Mapping[str, SplitExamples],
    condition: Label | None,
    left_out: Sequence[tuple[str, str]],
    signal_class: type[Signal],
    captions: Sequence[str] | None = None,
) -> Manifest:
    """Makes the manifest of a divided data set; warns of test examples that are in "train" too.

    Arguments:
        parts: The examples of each split, as `divide` returns them.
        condition: Their labels, if any.
        left_out: Name and reason of each that is not used.
        signal_class: The class of the signals.
        captions: The captions that the conditions are numbers of, in the place of labels.
    """
    chosen = [parts[split] for split in SPLITS]
    lengths = [len(part.names) for part in chosen]
    labels = [part.examples.conditions for part in chosen]
    found_in = np.array([SPLITS.index(part.found_in) for part in chosen])
    manifest = Manifest(
        **manifest_columns(
            np.concatenate([part.fingerprints for part in chosen]).tobytes(),
            np.arange(len(chosen)).repeat(lengths),
            np.concatenate(
                [
                    np.full(n, -1) if label is None else label.numpy()
                    for n, label in zip(lengths, labels, strict=True)
                ]
            ),
            found_in.repeat(lengths),
            NameArray.joined([part.names for part in chosen])
            if all(isinstance(part.names, NameArray) for part in chosen)
            else [name for part in chosen for name in part.names],
        ),
        label_names=tuple(captions)
        if captions is not None
        else None
        if condition is None
        else tuple(condition.names),
        captions=captions is not None,
        left_out=tuple(left_out),
    )
    _warn_of_copies(manifest, signal_class)
    return manifest


def _warn_of_copies(manifest: Manifest, signal_class: type[Signal]) -> None:
    """Says so where a data set has the same examples for training and to measure with."""
    groups = FingerprintGroups(manifest.fingerprints)
    trained = np.zeros(len(groups.sizes), dtype=bool)
    trained[groups.group_of[manifest.splits == 0]] = True
    for number, split in enumerate(SPLITS[1:], start=1):
        mine = np.unique(groups.group_of[manifest.splits == number])
        if copies := int(trained[mine].sum()):
            logger.warning(
                "%d of the %s %s are training %s too, exactly: figures measured on them are too "
                "good.",
                copies,
                split,
                signal_class.plural,
                signal_class.plural,
            )
