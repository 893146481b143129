"""Batches without end, whose order is a function of the seed and the step alone.

The examples are read in shuffled passes laid end to end, and batch number s is a slice of that
stream. A run that was interrupted asks for batch s again and gets the same examples, with no
iterator's state to save; each of several processes takes its own part of every batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

__all__ = ["StepSampler", "evaluation_loader", "training_loader"]


class StepSampler(Sampler[list[Any]]):
    """Yields batches of indices without end, from batch `start` on; the seed fixes each batch.

    Arguments:
        length: Number of examples; None for an infinite set, which is read in order.
        batch_size: Examples per batch and process.
        seed: Seed of the order.
        start: Number of the first batch.
        rank: Number of this process, in [0, world).
        world: Number of processes.
        versions: Whether each index comes with the number of a version, as examples that vary
            (`Examples.varied`) are asked for: another in each pass, fixed by the seed.

    Example:
        >>> whole = iter(StepSampler(5, 2, seed=0))
        >>> later = iter(StepSampler(5, 2, seed=0, start=1))
        >>> _ = next(whole)
        >>> next(whole) == next(later)
        True
    """

    def __init__(
        self,
        length: int | None,
        batch_size: int,
        seed: int,
        *,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
        versions: bool = False,
    ) -> None:
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.versions = versions
        self.start, self.rank, self.world = start, rank, world
        self._pass, self._order = -1, torch.empty(0, dtype=torch.int64)

    def __iter__(self) -> Iterator[list[Any]]:
        step = self.start
        while True:
            first = (step * self.world + self.rank) * self.batch_size
            places = range(first, first + self.batch_size)
            if self.versions:
                yield [(self._example(place), self._version(place)) for place in places]
            else:
                yield [self._example(place) for place in places]
            step += 1

    def _example(self, position: int) -> int:
        """Returns the example at a position of the order, shuffled anew in each pass."""
        if self.length is None:
            return position
        number, offset = divmod(position, self.length)
        if number != self._pass:
            generator = torch.Generator().manual_seed(self._version(position))
            self._pass, self._order = number, torch.randperm(self.length, generator=generator)
        return int(self._order[offset])

    def _version(self, position: int) -> int:
        """Returns a number of the pass that a position is in, another one of each seed."""
        number = position if self.length is None else position // self.length
        return (self.seed * 1_000_003 + number) % 2**63


def training_loader(dataset: Dataset, sampler: StepSampler, workers: int) -> DataLoader:
    """Makes a loader of training batches without end: `dataset.__getitems__` of each batch.

    A sampler that gives versions asks `dataset.varied`.
    """
    if sampler.versions:
        dataset = _Varied(dataset)
    return _loader(dataset, workers, batch_sampler=sampler)


def evaluation_loader(dataset: Dataset, batch_size: int, workers: int = 0) -> DataLoader:
    """Makes a loader of all examples in batches, once, in order."""
    return _loader(dataset, workers, batch_size=batch_size)


class _Varied(Dataset):
    """Examples by pairs of an index and a version."""

    def __init__(self, examples: Any) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitems__(self, pairs: Sequence[tuple[int, int]]) -> Any:
        indices, versions = zip(*pairs, strict=True)
        return self.examples.varied(indices, versions)


def _loader(dataset: Dataset, workers: int, **options: Any) -> DataLoader:
    """Makes a loader that leaves torch's global generator alone."""
    return DataLoader(
        dataset,
        num_workers=workers,
        collate_fn=_as_it_is,
        persistent_workers=workers > 0,
        # Its own generator: an iterator that is started must not draw from the global one.
        generator=torch.Generator(),
        **options,
    )


def _as_it_is(batch: Any) -> Any:
    return batch
