"""Sections: what one measurement says, in figures, blocks and words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch

from smalti.errors import InputError, first_line
from smalti.reporting.blocks import Block
from smalti.reporting.figures import Figure

__all__ = ["Card", "Section", "attempting"]

logger = logging.getLogger(__name__)

# What data and models can bring about, however right the program is.
FORESEEN = (
    InputError,
    ArithmeticError,
    MemoryError,
    torch.linalg.LinAlgError,  # type: ignore[attr-defined]
    torch.OutOfMemoryError,
)


class Card(NamedTuple):
    """A figure that stands at the top of the page.

    Attributes:
        figure: The figure.
        words: What it is, in a few words.
        hint: What to compare it with, or how to read it.
    """

    figure: Figure
    words: str
    hint: str = ""


class _Record(Protocol):
    """A section or a report, which notes what could not be measured."""

    failed: list[str]

    def leave_out(self, name: str, why: str, place: str | None = None) -> None: ...


@contextmanager
def attempting(record: _Record, name: str, place: str | None) -> Iterator[None]:
    """Runs one measurement in a `with` block, and records why if it fails, so that others go on.

    An unexpected error is a fault of the program: it is logged with its traceback, too, and named
    in `failed`.

    Arguments:
        record: The section or report that records what is missing.
        name: Name of the measurement, for readers.
        place: Its place in `figures`; None where it has none.
    """
    try:
        yield
    except FORESEEN as error:
        if isinstance(error, InputError):
            why = str(error)
        elif isinstance(error, MemoryError | torch.OutOfMemoryError):
            why = "there is not enough memory for it."
        else:
            why = f"the numbers do not allow it ({first_line(error)})."
        record.leave_out(name, why, place)
    except Exception as error:
        logger.error("%s could not be measured", name, exc_info=error)
        record.failed.append(name)
        why = f"it failed ({type(error).__name__}: {first_line(error)}); see the log."
        record.leave_out(name, why, place)


@dataclass
class Section:
    """The part of a report that one measurement fills: figures, blocks, and what is missing.

    Attributes:
        title: Over the section.
        key: Where its figures belong among those of a report.
        chapter: The part of the page that it belongs to.
        figures: Dictionaries of value, unit and protocol, nested at most once more.
        blocks: What it shows, in order; the names are the beginnings of the names of the files.
        cards: What of it stands at the top of the page.
        facts: About data and model, by name, in words.
        lead: One sentence for the top of the page.
        missing: What was not computed, and why.
        without: The same by its place in `figures` ("histogram", or "" for all of them), where it
            has one: null in `report.json`, with the reason.
        failed: That part of `missing` which failed because of an error in the program.
    """

    title: str
    key: str
    chapter: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    blocks: dict[str, Block] = field(default_factory=dict)
    cards: list[Card] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    lead: str = ""
    missing: dict[str, str] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @contextmanager
    def attempt(self, name: str, place: str | None = None) -> Iterator[None]:
        """Takes a part of the measurement: if it cannot be taken, the section says so and goes on.

        Arguments:
            name: What is measured, in words.
            place: Where its figures belong in those of the section.

        Example:
            >>> section = Section("Digits", "digits")
            >>> with section.attempt("Sharpness", "sharpness"):
            ...     raise InputError("There are no digits: add some.")
            >>> section.missing
            {'Sharpness': 'There are no digits: add some.'}
        """
        with attempting(self, name, place):
            yield

    def leave_out(self, name: str, why: str, place: str | None = None) -> None:
        """Says that something is not in the section, and why; see `attempt`."""
        self.missing[name] = " ".join(why.split())
        if place is not None:
            self.without[place] = self.missing[name]

    def files(self) -> dict[str, bytes]:
        """Returns the contents of the files of its blocks, by name."""
        return {
            f"{name.replace('/', '-')}{end}": content
            for name, block in self.blocks.items()
            for end, content in block.files().items()
        }
