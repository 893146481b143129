"""Measurements: an evaluation is a list of them, and a report has a section of each.

A measurement sees a `Subject`: the test set, what a model makes of it, and samples, wherever these
come from. The rooms of modalities and of synthetic data bring measurements of their own, so a
subject is described here, below them, by what such a measurement may ask of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from smalti.reporting.section import Section

__all__ = ["SampleComparison", "Measurement", "Subject"]


class Subject(Protocol):
    """What is measured: a model with the data that it was learned from.

    Attributes:
        splits: The data, `smalti.data.Splits`.
        modality: The modality of the data, `smalti.modalities.Modality`.
        prior: The learned prior, or `None`.
        seed: Seed of every draw.
        device: Where the model lies.
        limits: How much is measured.
        words: What each set is called in a sentence, e.g. of "train" and "prior".
        titles: What each set is called over a picture or in a table.
    """

    splits: Any
    modality: Any
    prior: Any
    seed: int
    device: torch.device
    limits: Any
    words: Mapping[str, str]
    titles: Mapping[str, str]

    @property
    def test_set(self) -> str:
        """Returns the test set in the words of a protocol."""

    @property
    def order(self) -> Tensor:
        """Returns a random order of the test examples that are measured, (N,)."""

    @property
    def compared(self) -> int:
        """Returns N of every set that is compared with the test set."""

    @property
    def conditions(self) -> Tensor | None:
        """Returns the conditions of the test examples that are measured, (N,), on the CPU."""

    @property
    def without_codes(self) -> str | None:
        """Returns why examples are not rows of codes, an ID each; `None` if they are."""

    @property
    def codes(self) -> Tensor:
        """Returns the codes (N, Q) of all examples of all splits, training first, on the CPU."""

    def from_codes(self, codes: Tensor) -> Iterator[Tensor]:
        """Yields the signals of rows of the first q codes (n, q) alone, in batches."""

    def test_examples(self, chosen: Tensor) -> Tensor:
        """Returns the test examples with these numbers (n,), as one batch (n, C, *size)."""

    def test_batches(self) -> Iterator[Tensor]:
        """Yields all test examples that are measured, batch by batch."""

    def reconstructed(self, chosen: Tensor) -> Iterator[Tensor]:
        """Yields reconstructions of the test examples with these numbers (n,), batch by batch."""

    def decoded(self, latents: Tensor) -> Iterator[Tensor]:
        """Yields the signals of latents, batch by batch."""

    def drawn(self, prior: Any, n: int, context: Tensor | None) -> Tensor:
        """Returns latents of n samples of a prior, for the first n of the context."""

    def sets(self) -> Mapping[str, Callable[[], Iterator[Tensor]]]:
        """Maps each set to compare with the test set to what gives `compared` signals of it."""

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """Makes what several measurements need once; an error is raised again for each."""


S = TypeVar("S", contravariant=True)


class Measurement(ABC, Generic[S]):
    """Abstract: one thing to measure.

    Attributes:
        key: Where its figures belong among those of a report; its own.
        title: What is measured, in words.
        chapter: The part of the page that it belongs to.
        file_names: A regular expression for the names of all files that its section can have.
        compared: The figures by which models of the same data are compared, by their names in a
            table: the place of each among those of its section. A number counts the branches that
            there are: 0 is the first, -1 the last; its name stands for {}.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    chapter: ClassVar[str]
    file_names: ClassVar[str] = ""
    compared: ClassVar[Mapping[str, tuple[str | int, ...]]] = {}

    @abstractmethod
    def applies(self, subject: S) -> str | None:
        """Returns why it does not apply to such data or such a model, in a sentence; or `None`."""

    @abstractmethod
    def run(self, subject: S) -> Section:
        """Measures.

        Raises:
            InputError: If what it needs is not there.
        """

    def section(self) -> Section:
        """Returns an empty section to fill."""
        return Section(self.title, self.key, self.chapter)


class SampleComparison(Measurement[S], ABC):
    """Abstract: a measurement that compares sets of samples, so that many have to be drawn."""

    @abstractmethod
    def compares(self, subject: S) -> bool:
        """Returns whether it will."""
