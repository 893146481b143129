"""The base class of modalities: how a kind of data is read, written, shown and measured.

A `Modality` belongs to a `Signal`: `modality_of(signal)` finds it. All commands, and what generates
and measures, go through it, so that nothing outside of a modality's own room names a kind of data.

The room of a kind of data is a module, such as `smalti.modalities.image`, which has

    SIGNAL       the class of its signals, registered
    modality()   makes its `Modality`
    sources()    gives the sources that recipes may name

Importing it is cheap: what reads and draws is imported by these functions. Others add theirs by an
entry point of their package, `pyproject.toml` of which says:

    [project.entry-points."smalti.modalities"]
    pulse = "name_of_the_module"
"""

from __future__ import annotations

import importlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from smalti.data import Batch, Source
from smalti.errors import InputError, first_line
from smalti.reporting.blocks import Block
from smalti.reporting.figures import Figure
from smalti.reporting.measurement import Measurement
from smalti.signals import Signal

__all__ = [
    "Classifier",
    "JoinedInFile",
    "ManyPerFile",
    "Metric",
    "Modality",
    "NamedSignals",
    "import_modalities",
    "modality_of",
]

GROUP = "smalti.modalities"  # of entry points
BUILT_IN = tuple(f"smalti.modalities.{name}" for name in ("audio", "image", "series", "vector"))


class Metric(ABC):
    """Abstract: measures reconstructions batch by batch.

    Attributes:
        names: The name of each of its figures in tables, by key, in order.
        units: The unit of each figure that has one, by key.
        cards: The figures that are shown at the top of a report, by key: title, and how to read it.
    """

    names: ClassVar[Mapping[str, str]]
    units: ClassVar[Mapping[str, str]] = {}
    cards: ClassVar[Mapping[str, tuple[str, str]]]

    @abstractmethod
    def update(self, x: Tensor, x_hat: Tensor) -> None:
        """Adds a batch of signals x and their reconstructions x_hat, both (B, C, *size)."""

    @abstractmethod
    def figures(self, measured_on: str) -> dict[str, Figure]:
        """Returns figures of all that was taken in, by key.

        Arguments:
            measured_on: The set and its N, for the protocols.
        """

    @abstractmethod
    def missing(self) -> dict[str, str]:
        """Returns, for each of its figures that such signals do not have, the reason."""


class Classifier(nn.Module, ABC):
    """Abstract: a classifier of signals, whose features are also used for Fréchet distances.

    Attributes:
        head: The last layer: features (B, F) → logits (B, classes).
    """

    head: nn.Linear

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Maps signals (B, C, *size) to features (B, F), the inputs of the last layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps signals (B, C, *size) to logits (B, classes)."""
        return self.head(self.features(x))

    @torch.no_grad()
    def accuracy(self, batches: Iterable[Batch]) -> float:
        """Measures the share of signals whose class it predicts as `condition` says."""
        right = total = 0
        for x, labels in batches:
            assert labels is not None
            right += int((self(x).argmax(1) == labels).sum())
            total += len(x)
        return right / total


class Modality(ABC):
    """Abstract: a kind of data, such as images: reads, writes, shows and measures its signals.

    Attributes:
        signal: The class of its signals.
        suffixes: Suffixes of the files that it reads; files are written with the first.
        shown_as: Suffix of the picture that `render` draws of several signals.
        paired: The caption that says how `compare` shows a signal and its reconstruction.
    """

    signal: ClassVar[type[Signal]]
    suffixes: ClassVar[tuple[str, ...]]
    shown_as: ClassVar[str]
    paired: ClassVar[str] = "the original above, its reconstruction below"

    @abstractmethod
    def read(
        self,
        path: str | Path,
        signal: Signal,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Reads a file for a model of `signal`: (C, *size), in the signal's range.

        Arguments:
            path: Path of the file.
            signal: The signal that the model takes; without a size, any size fits.
            convert: Whether a file of another size or form is made to fit, though it loses by it.
            source: The arguments of the source that the model's data were read with.

        Raises:
            InputError: If it is missing or damaged, or, without `convert`, is not of that signal.
        """

    @abstractmethod
    def from_object(
        self, given: Any, signal: Signal, source: Mapping[str, Any] | None = None
    ) -> Tensor | None:
        """Converts an object of another library, such as an opened file, to a signal (C, *size).

        Arguments:
            given: The object, which is neither a path nor numbers.
            signal: The signal that the model takes.
            source: See `read`.

        Returns:
            The signal in its range; `None` if it is nothing of the kind.

        Raises:
            InputError: See `read`.
        """

    @abstractmethod
    def read_partial(
        self,
        path: str | Path,
        signal: Signal,
        keep: str | None = None,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Reads a file of which a part is given, to be completed.

        Arguments:
            path: Path of the file.
            signal: What the model takes.
            keep: The part that is given, in the modality's words; it has a usual one.
            convert: See `read`.
            source: See `read`.

        Returns:
            x (C, *size), something smooth where nothing is given, and `given` (*size), bool.

        Raises:
            InputError: See `read`; or if there is no such part, or nothing of it is given.
        """

    @abstractmethod
    def read_mask(
        self,
        path: str | Path,
        signal: Signal,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Reads a file that marks a part of a signal, to be edited: (*size), bool, True there.

        Arguments: those of `read`.

        Raises:
            InputError: See `read`; or if it marks nothing, or such signals have no parts.
        """

    @abstractmethod
    def write(
        self,
        x: Tensor,
        path: str | Path,
        overwrite: bool = False,
        signal: Signal | None = None,
    ) -> None:
        """Writes one signal (C, *size) to a file, whole or not at all.

        Arguments:
            x: In the signal's range.
            path: Path of the file, with one of the suffixes.
            overwrite: Whether a file that smalti did not write may be replaced.
            signal: The signal, if it says more than the values do (a rate, names of channels).

        Raises:
            InputError: If a value is not finite, or the file may not be replaced.
        """

    @abstractmethod
    def describe(self, signal: Signal) -> str:
        """Describes an example and its number of bits, as the beginning of a sentence."""

    @abstractmethod
    def render(
        self,
        x: Tensor,
        caption: str,
        columns: int | None = None,
        signal: Signal | None = None,
    ) -> Block:
        """Shows signals x (B, C, *size).

        Arguments:
            x: Finite values, or it raises `InputError`.
            caption: What they are, in words.
            columns: The number of signals per row.
            signal: The signal; see `write`.
        """

    @abstractmethod
    def compare(
        self, x: Tensor, x_hat: Tensor, caption: str, signal: Signal | None = None
    ) -> Block:
        """Shows signals x and their reconstructions x_hat, both (B, C, *size), in pairs.

        Arguments:
            x: See `render`.
            x_hat: Likewise.
            caption: What they are, in words.
            signal: What they are; see `write`.
        """

    @abstractmethod
    def metrics(self, signal: Signal) -> Sequence[Metric]:
        """Returns new metrics of reconstructions of such signals."""

    @abstractmethod
    def classifier(self, signal: Signal, classes: int) -> Classifier | None:
        """Returns a new network to train on labels; `None` if there is none for such signals."""

    @abstractmethod
    def measurements(self) -> Sequence[Measurement]:
        """Returns what can be measured of this kind of data alone."""


class NamedSignals(NamedTuple):
    """A batch of signals from a file, with their names, in the order of the file.

    Attributes:
        x: (n, C, *size), in the signal's range.
        names: The name of each signal.
        numbered: Whether the file has no names, so that `names` are numbers from 0 on.
    """

    x: Tensor
    names: Sequence[str]
    numbered: bool


class ManyPerFile(Modality, ABC):
    """Abstract: a modality with many signals per file, such as the rows of a table.

    Attributes:
        written_together: Suffixes of the files that `write_all` writes.
        shown: How many signals `render` shows at most.
        compared: How many pairs `compare` shows at most.
    """

    written_together: ClassVar[tuple[str, ...]]
    shown: ClassVar[int]
    compared: ClassVar[int]

    @abstractmethod
    def read_all(
        self,
        path: str | Path,
        signal: Signal,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> Iterator[NamedSignals]:
        """Reads all signals of a file, a batch at a time.

        Arguments: those of `read`; with `convert`, signals that cannot be used are left out.

        Raises:
            InputError: See `read`.
        """

    @abstractmethod
    def write_all(
        self,
        x: Tensor,
        path: str | Path,
        names: Sequence[str] | None = None,
        overwrite: bool = False,
        signal: Signal | None = None,
    ) -> None:
        """Writes signals (n, C, *size) to one file, whole or not at all; see `write`.

        Arguments:
            x: In the signal's range.
            path: Path of the file, with one of the suffixes `written_together`.
            names: A name for each; None where they have none.
            overwrite: See `write`.
            signal: See `write`.
        """

    @abstractmethod
    def check_alike(
        self, x: Tensor, x_hat: Tensor, measured: Mapping[str, Figure], name: str
    ) -> None:
        """Checks that new signals were made in the same way as those a model was trained on.

        Arguments:
            x: The first signals of a file, (n, C, *size).
            x_hat: Their reconstructions.
            measured: The figures of the model's metrics on its own test set, by key.
            name: Name of the file.

        Raises:
            InputError: If the reconstructions show that they were not.
        """


class JoinedInFile(Modality, ABC):
    """Abstract: a modality whose signals can stand one after another in a file, such as sounds.

    Attributes:
        written_joined: Suffixes of the files that `write_joined` writes.
    """

    written_joined: ClassVar[tuple[str, ...]]

    @abstractmethod
    def write_joined(
        self,
        signals: Sequence[Tensor],
        path: str | Path,
        overwrite: bool = False,
        signal: Signal | None = None,
    ) -> None:
        """Writes signals (C, *size), of any sizes, one after another to a file; one as it is.

        Arguments:
            signals: At least one, in the signal's range.
            path: Path of the file, with one of the suffixes `written_joined`.
            overwrite: See `write`.
            signal: See `write`.
        """


class _ModalityModule(Protocol):
    """A module that adds a kind of data (a modality), as an entry point names it."""

    SIGNAL: type[Signal]

    def modality(self) -> Modality:
        """Makes the `Modality` of its signals."""

    def sources(self) -> tuple[type[Source], ...]:
        """Gives the sources of such data, so that recipes may name them."""


def modality_of(signal: Signal) -> Modality:
    """Finds the modality of a signal among those that are installed.

    Raises:
        InputError: If no installed modality has such signals.
    """
    for room in import_modalities():
        if isinstance(signal, room.SIGNAL):
            return room.modality()
    raise InputError(
        f"No kind of data has the signal {type(signal).__name__}: install the package that it "
        f"comes from, which has an entry point in the group {GROUP}."
    )


def import_modalities() -> list[_ModalityModule]:
    """Imports the module of each modality, so that its signals are registered.

    Warns of modules of other packages that cannot be imported.
    """
    return [cast(_ModalityModule, importlib.import_module(name)) for name in BUILT_IN] + list(
        _of_other_packages()
    )


def _of_other_packages() -> Iterator[_ModalityModule]:
    """Yields the modalities of installed packages; warns of those that cannot be imported."""
    for entry in entry_points(group=GROUP):
        try:
            yield entry.load()
        except Exception as error:  # whatever the module does
            warnings.warn(
                f"The kind of data {entry.name} of {entry.value} cannot be imported "
                f"({first_line(error)}): install it again, or remove it.",
                stacklevel=3,
            )
