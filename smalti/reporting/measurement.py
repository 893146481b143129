"""The base class of measurements: an evaluation takes a list of them, one section each.

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
    """Protocol of what measurements are taken of: a model with its data.

    Attributes:
        splits: The data, `smalti.data.Splits`.
        modality: The modality of the data, `smalti.modalities.Modality`.
        tokenizer: The autoencoder if its latents are tokens, else `None`.
        prior: The learned prior, or `None`.
        priors: All priors over tokens, by name; empty without a learned one.
        seed: Seed of every draw.
        device: The device of the model.
        limits: The numbers of examples, samples and steps.
        words: What sentences call each set of signals, such as "train" and "prior".
        titles: What tables and pictures call each set of signals.
    """

    splits: Any
    modality: Any
    tokenizer: Any
    prior: Any
    priors: Mapping[str, Any]
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
    def without_tree(self) -> str | None:
        """Returns why the codes of examples make no tree; `None` if each refines those before."""

    @property
    def codes(self) -> Tensor:
        """Returns the codes (N, Q) of all examples of all splits, training first, on the CPU."""

    def from_codes(self, codes: Tensor) -> Iterator[Tensor]:
        """Yields the signals of rows of the first q codes (n, q) alone, in batches."""

    def test_examples(self, chosen: Tensor) -> Tensor:
        """Returns the test examples with these indices (n,), as one batch (n, C, *size)."""

    def test_batches(self) -> Iterator[Tensor]:
        """Yields all test examples that are measured, batch by batch."""

    def reconstructed(self, chosen: Tensor) -> Iterator[Tensor]:
        """Yields reconstructions of the test examples with these indices (n,), batch by batch."""

    @property
    def encoded(self) -> Any:
        """Returns the encoded test set, `smalti.evaluation.EncodedTestSet`: `latents` (N, …)."""

    def encode(self, x: Tensor) -> Tensor:
        """Encodes signals (B, C, *size) to latents."""

    def decode(self, latents: Tensor) -> Tensor:
        """Decodes the latents of a batch to signals (B, C, *size)."""

    def mean_nats(self, name: str) -> float | None:
        """Returns the mean nats per test signal under the prior of a name, if it has a likelihood.

        Of a prior with a bound it is that.
        """

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
    """Abstract: measures one aspect of a model, and fills one section of its report.

    Attributes:
        key: The key of its figures in `report.json`.
        title: The title of its section.
        chapter: The part of the page that it belongs to.
        file_names: A regular expression for the names of all files that its section can have.
        compared: The figures that comparisons of models show: name in the table → path of keys
            among the figures of its section. A number in a path is the n-th key there (-1 the
            last), which takes the place of {} in the name.
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
