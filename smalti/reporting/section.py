"""Sections: what one measurement says, in figures, blocks and words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from smalti.errors import InputError, first_line
from smalti.reporting.blocks import Block
from smalti.reporting.figures import Figure

__all__ = ["Card", "Record", "Section"]

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


@dataclass(kw_only=True)
class Record:
    """What could not be measured, of a report or of a section of it.

    Attributes:
        missing: What was not computed, and why.
        without: The same by its place among the figures, such as "histogram" in those of a section
            ("" for all of them) and "frechet/histogram" in those of a report, where it has one:
            null in `report.json`, with the reason.
        failed: That part of `missing` which failed because of an error in the program.
    """

    missing: dict[str, str] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @contextmanager
    def attempt(self, name: str, place: str | None = None) -> Iterator[None]:
        """Takes one measurement, or a part of it: if it cannot be taken, says so and goes on.

        An unexpected error is a fault of the program: it is logged with its traceback, too, and
        named in `failed`.

        Arguments:
            name: Name of the measurement, for readers.
            place: Its place in `figures`, such as "histogram"; None where it has none.

        Example:
            >>> section = Section("Digits", "digits")
            >>> with section.attempt("Sharpness", "sharpness"):
            ...     raise InputError("There are no digits: add some.")
            >>> section.missing
            {'Sharpness': 'There are no digits: add some.'}
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
            self.leave_out(name, why, place)
        except Exception as error:
            logger.error("%s could not be measured", name, exc_info=error)
            self.failed.append(name)
            why = f"it failed ({type(error).__name__}: {first_line(error)}); see the log."
            self.leave_out(name, why, place)

    def leave_out(self, name: str, why: str, place: str | None = None) -> None:
        """Says that something was not measured, and why; see `attempt`."""
        self.missing[name] = " ".join(why.split())
        if place is not None:
            self.without[place] = self.missing[name]


@dataclass
class Section(Record):
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
        Others: see `Record`.
    """

    title: str
    key: str
    chapter: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    blocks: dict[str, Block] = field(default_factory=dict)
    cards: list[Card] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    lead: str = ""

    def files(self) -> dict[str, bytes]:
        """Returns the contents of the files of its blocks, by name."""
        return {
            f"{name.replace('/', '-')}{end}": content
            for name, block in self.blocks.items()
            for end, content in block.files().items()
        }
