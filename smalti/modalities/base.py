"""What smalti must know of a kind of data to read, write, show and measure it.

A `Modality` belongs to a `Signal`: `modality_of(signal)` finds it. All commands, and what generates
and measures, go through it, so that nothing outside of a modality's own room names a kind of data.

A room of a kind of data is a module, such as `smalti.modalities.image`, which has

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
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from torch import Tensor, nn

from smalti.data import Source
from smalti.errors import InputError, first_line
from smalti.reporting.figures import Figure
from smalti.signals import Signal

if TYPE_CHECKING:
    from smalti.reporting.blocks import Block
    from smalti.reporting.measurement import Measurement

__all__ = ["Metric", "Modality", "import_modalities", "modality_of"]

GROUP = "smalti.modalities"  # of entry points
BUILT_IN = ("smalti.modalities.image",)


class Metric(ABC):
    """Abstract: measures how faithful reconstructions are, batch by batch.

    Attributes:
        titles: What each figure is called in a report, by its key.
        missing: Why a figure is not among `figures`, by its key.
    """

    titles: ClassVar[Mapping[str, str]]
    missing: dict[str, str]

    @abstractmethod
    def update(self, x: Tensor, x_hat: Tensor) -> None:
        """Takes in signals x and their reconstructions x_hat, both (B, C, *size)."""

    @abstractmethod
    def figures(self, measured_on: str) -> dict[str, Figure]:
        """Returns the figures of all that was taken in, by key.

        Arguments:
            measured_on: The set and its N, for the protocols.
        """


class Modality(ABC):
    """Abstract: a kind of data.

    Attributes:
        signal: The class of its signals.
        suffixes: Of the files that it reads and writes, that of a new file first.
        headline: The key of the figure that stands where there is room for one.
    """

    signal: ClassVar[type[Signal]]
    suffixes: ClassVar[tuple[str, ...]]
    headline: ClassVar[str]

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
            path: Of the file.
            signal: What the model takes.
            convert: Whether a file of another size or form is made to fit, though it loses by it.
            source: The arguments of the source that the model's data were read with.

        Raises:
            InputError: If it is missing or damaged, or, without `convert`, is not of that signal.
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
            path: Of the file.
            signal: What the model takes.
            keep: The part that is given, in the modality's words; it has a usual one.
            convert: As of `read`.
            source: As of `read`.

        Returns:
            x (C, *size), something smooth where nothing is given, and `given` (*size), bool.

        Raises:
            InputError: As of `read`, or if there is no such part, or nothing of it is given.
        """

    @abstractmethod
    def write(self, x: Tensor, path: str | Path, overwrite: bool = False) -> None:
        """Writes one signal (C, *size) to a file, whole or not at all.

        Arguments:
            x: In the signal's range.
            path: Of the file, with one of the suffixes.
            overwrite: Whether a file that smalti did not write may be replaced.

        Raises:
            InputError: If a value is not finite, or the file may not be replaced.
        """

    @abstractmethod
    def render(self, x: Tensor, caption: str = "", columns: int | None = None) -> Block:
        """Shows signals (B, C, *size).

        Arguments:
            x: In the signal's range.
            caption: What they are.
            columns: Signals in a row; None for the modality's choice.
        """

    @abstractmethod
    def compare(
        self, x: Tensor, x_hat: Tensor, caption: str = "", columns: int | None = None
    ) -> Block:
        """Shows signals x, each with its reconstruction x_hat, both (B, C, *size)."""

    @abstractmethod
    def metrics(self) -> list[Metric]:
        """Makes new metrics of reconstructions; the key of each figure is that of one of them."""

    @abstractmethod
    def known(self, tokens: Tensor, given: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Returns the tokens of one level, -1 where they are of what is not given.

        Arguments:
            tokens: (B, *grid), or (B, *grid, Q), of the whole signals.
            given: (B, *size), True where the signal is given, of any size that the grid divides.
            grid: The grid of the level.
        """

    @abstractmethod
    def classifier(self, signal: Signal, classes: int) -> nn.Module:
        """Makes a network that classifies: signals (B, C, *size) to logits (B, classes).

        It has `features(x)`, (B, M), what its last layer sees: the space in which sets of signals
        are compared.
        """

    @abstractmethod
    def measurements(self) -> list[Measurement]:
        """Makes the measurements that only this kind of data has."""

    @abstractmethod
    def describe(self, signal: Signal) -> str:
        """Says what a signal is, with its size and the bits of one that is not compressed."""


class _Room(Protocol):
    """The module of a kind of data."""

    SIGNAL: type[Signal]

    def modality(self) -> Modality:
        """Makes what smalti knows of it."""

    def sources(self) -> tuple[type[Source], ...]:
        """Gives the sources of such data, so that recipes may name them."""


def modality_of(signal: Signal) -> Modality:
    """Returns the kind of data of a signal.

    Raises:
        InputError: If none that is installed has such signals.
    """
    for room in import_modalities():
        if isinstance(signal, room.SIGNAL):
            return room.modality()
    raise InputError(
        f"No kind of data has the signal {type(signal).__name__}: install the package that it "
        f"comes from, which has an entry point in the group {GROUP}."
    )


def import_modalities() -> list[_Room]:
    """Imports the room of each kind of data, so that its signals are registered.

    One of another package that cannot be imported is a warning.
    """
    return [cast(_Room, importlib.import_module(name)) for name in BUILT_IN] + list(_of_others())


def _of_others() -> Iterator[_Room]:
    for entry in entry_points(group=GROUP):
        try:
            yield entry.load()
        except Exception as error:  # whatever the module does
            warnings.warn(
                f"The kind of data {entry.name} of {entry.value} cannot be imported "
                f"({first_line(error)}): install it again, or remove it.",
                stacklevel=3,
            )
