"""Data sets: sources, their splits, and examples that come a batch at a time.

    source ── load() ──▶ splits: train, validation, test ── [indices] ──▶ batch (x, condition)

A source says where data lie and in which form they are wanted. Loading it gives three sets of
examples: what models are trained on, what is watched while training, and what is measured at the
end. The validation examples are taken out of the training data, never out of the test data.

Examples give a whole batch at once, because indexing one tensor is far faster than stacking a
hundred small ones. A `torch.utils.data.DataLoader` asks for batches in this way by itself; its
`collate_fn` has only to hand them on:

    DataLoader(splits.train, batch_size=128, shuffle=True, collate_fn=lambda batch: batch)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from smalti.conditions import Condition
from smalti.counting import counted
from smalti.errors import InputError
from smalti.signals import Signal

if TYPE_CHECKING:
    from smalti.data.items import Items
    from smalti.data.manifest import Manifest
    from smalti.networks import Normalization
    from smalti.reporting import Measurement

__all__ = [
    "Batch",
    "Examples",
    "FactorizedSource",
    "Source",
    "SplitName",
    "Splits",
    "StoredExamples",
    "Version",
]


FOUND = "smalti.data.found"  # the logger of what sources have found, which `smalti fit` prints
SplitName = Literal["train", "validation", "test"]


class Batch(NamedTuple):
    """A batch of examples: the signals x, and their conditions.

    Attributes:
        x: (B, C, *size), float32, as the signal says.
        condition: (B,): labels, int64, or times in minutes, float32; `None` where the data have
            neither.
    """

    x: Tensor
    condition: Tensor | None


class Examples(Dataset[Batch], ABC):
    """Abstract: the examples of a split, taken by number in batches; the i-th is always the same.

    Attributes:
        endless: Whether examples are generated without end, each when it is asked for. Such
            examples are taken in order, from 0 on; where a whole set is needed, take the `first` n.
        varies: Whether a training sees another version of an example each time, such as another
            excerpt of a recording; see `varied`.
    """

    endless: bool = False
    varies: bool = False

    def __deepcopy__(self, memo: dict) -> Self:
        """Returns itself: examples are only read, so copies can share them."""
        return self

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of examples."""

    @abstractmethod
    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Returns the examples with these indices, as one batch in this order."""

    @abstractmethod
    def conditions_at(self, indices: Sequence[int]) -> Tensor | None:
        """Returns the conditions (B,) of the examples with these indices, without reading the
        signals.
        """

    def varied(self, indices: Sequence[int], versions: Sequence[int]) -> Batch:
        """Returns examples as a training sees them, each in one of many versions.

        Arguments:
            indices: The examples.
            versions: A whole number for each; the same example and number give the same.
        """
        return self.__getitems__(indices)

    @property
    def conditions(self) -> Tensor | None:
        """Returns the conditions (N,) of all examples in order; `None` where there are none.

        Raises:
            InputError: If the examples are endless.
        """
        if self.endless:
            raise InputError(
                "Endless examples cannot be had all at once: take the first n of them."
            )
        return self.conditions_at(range(len(self)))

    def __getitem__(self, index: int) -> Batch:
        """Returns a batch of one example."""
        return self.__getitems__([index])

    def first(self, n: int) -> Examples:
        """Returns the first n examples, or all where there are fewer."""
        return self if n >= len(self) else _First(self, n)

    def drawn(self, n: int, seed: int) -> Examples:
        """Draws n examples at random, in order; all if there are fewer.

        Of labelled examples each label has its share, and at least one example where n is no less
        than the number of labels. Of endless examples it is the first n.

        Arguments:
            n: The number of examples.
            seed: Another one draws others.
        """
        if n >= len(self) or self.endless or n < 1:
            return self.first(n)
        conditions, generator = self.conditions, torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self), generator=generator)
        if conditions is not None and conditions.dtype == torch.int64 and conditions.ndim == 1:
            order = order[_evenly(conditions[order])]
        return _Drawn(self, order[:n].sort().values)


class StoredExamples(Examples, ABC):
    """Abstract: a finite set of examples, of which subsets can be taken."""

    @abstractmethod
    def take(self, indices: Tensor) -> Self:
        """Returns the examples with these indices (K,), int64, which share what is stored."""


class Splits(NamedTuple):
    """A data set, ready to train on: its three splits, their kind of signal, and their condition.

    A source adds what it knows of its data: augmentation, the manifest, normalization and
    measurements of its own.

    Attributes:
        train: The examples to train on.
        validation: The examples to watch the training with.
        test: The examples to measure with.
        signal: The signal of each x: its channels, size and range.
        condition: The condition of examples, such as their label; `None` where there is none.
        augment: Random changes of a training batch x that keep its shape and meaning, drawn from
            torch's global generator; `None` for no changes.
        manifest: The manifest of the examples, in their order; `None` where the source has none.
        shift: Moves each signal of a batch x at random, by at most a share of its size; `None`
            where that would change the meaning.
        measurements: Measurements of models that only these data allow.
        normalization: Maps signals to what networks see, learned on the training examples; `None`
            for no normalization. The model keeps it.
        items: Names, categories and titles of the examples; `None` where there are none.
    """

    train: Examples
    validation: Examples
    test: Examples

    signal: Signal
    condition: Condition | None
    augment: Callable[[Tensor], Tensor] | None
    manifest: Manifest | None = None
    shift: Callable[[Tensor, float], Tensor] | None = None
    measurements: tuple[Measurement, ...] = ()
    normalization: Normalization | None = None
    items: Items | None = None


class Source(ABC):
    """Abstract: a data set to load. The constructor only checks its arguments; `load` works."""

    @abstractmethod
    def load(self) -> Splits:
        """Reads or makes the data.

        Raises:
            InputError: If they are not there, or not what the source was told they are.
        """

    def load_by_order(self) -> Splits:
        """Loads as `load`, but holds out by the number of examples and their order.

        So it was before runs had manifests; for the data of such runs alone.
        """
        return self.load()

    def load_lazily(self, left_out: Collection[str]) -> Splits:
        """Loads as `load`, but where that takes long, makes each example when it is asked for.

        For those who want a few of them.

        Arguments:
            left_out: The names of what is no example, which `load` would find out.
        """
        return self.load()

    @abstractmethod
    def examples(self, split: SplitName) -> Examples:
        """Returns the examples of one split; a synthetic source draws them when asked.

        Raises:
            InputError: See `load`.
        """


class FactorizedSource(Source):
    """Abstract: a source whose examples are made from known factors, such as shape and size."""

    @property
    @abstractmethod
    def factors(self) -> dict[str, int]:
        """Returns the names of the F factors, and how many values each takes."""

    @abstractmethod
    def values(self, split: SplitName, indices: Sequence[int]) -> Tensor:
        """Returns the values of the factors, (B, F), int64, from 0, of the examples of these
        numbers of a split.
        """


def _evenly(labels: Tensor) -> Tensor:
    """Orders labels (N,) so that every prefix has each label's share, one of each first."""
    order = labels.argsort(stable=True)
    counts = labels.bincount()
    starts = counts.cumsum(0) - counts
    number = torch.empty_like(labels)  # of each among those of its label
    number[order] = torch.arange(len(labels)) - starts[labels[order]]
    share = (number.double() - 0.5) / counts[labels]
    return torch.where(number == 0, -1.0, share).argsort(stable=True)


class Version(Examples):
    """One version of all examples of a set that varies.

    Arguments:
        examples: The set.
        number: Which version of each.
    """

    def __init__(self, examples: Examples, number: int) -> None:
        self.examples, self.number = examples, number

    def __len__(self) -> int:
        return len(self.examples)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return self.examples.varied(indices, [self.number] * len(indices))

    def conditions_at(self, indices: Sequence[int]) -> Tensor | None:
        return self.examples.conditions_at(indices)


class _Drawn(Examples):
    """The examples with these indices (N,), int64."""

    def __init__(self, examples: Examples, rows: Tensor) -> None:
        self.examples, self.rows = examples, rows
        self.varies = examples.varies

    def varied(self, indices: Sequence[int], versions: Sequence[int]) -> Batch:
        return self.examples.varied(self._chosen(indices), versions)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return self.examples.__getitems__(self._chosen(indices))

    def conditions_at(self, indices: Sequence[int]) -> Tensor | None:
        return self.examples.conditions_at(self._chosen(indices))

    def _chosen(self, indices: Sequence[int]) -> list[int]:
        return self.rows[torch.as_tensor(indices, dtype=torch.int64)].tolist()


class _First(Examples):
    """The first n of endless examples, whose numbers are checked."""

    def __init__(self, examples: Examples, n: int) -> None:
        if n < 1:
            raise InputError(f"The number of examples to take is at least 1, got {n}.")
        self.examples, self.n = examples, n
        self.varies = examples.varies

    def __len__(self) -> int:
        return self.n

    def varied(self, indices: Sequence[int], versions: Sequence[int]) -> Batch:
        return self.examples.varied(self._checked(indices), versions)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return self.examples.__getitems__(self._checked(indices))

    def conditions_at(self, indices: Sequence[int]) -> Tensor | None:
        return self.examples.conditions_at(self._checked(indices))

    def _checked(self, indices: Sequence[int]) -> Sequence[int]:
        """Returns the indices of examples; raises `IndexError` if one is not below n."""
        if len(indices) and not 0 <= min(indices) <= max(indices) < self.n:
            raise IndexError(
                f"The examples are {counted(self.n, 'example')}, numbered from 0: got "
                f"{max(indices)}."
            )
        return indices
