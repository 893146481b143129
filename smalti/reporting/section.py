"""Sections of a report: the figures, blocks and words of one measurement."""

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
        words: The name of the figure in a few words.
        hint: How to read it, or what to compare it with.
    """

    figure: Figure
    words: str
    hint: str = ""


@dataclass(kw_only=True)
class Record:
    """Keeps what could not be measured, for a report or a section: base class of both.

    Attributes:
        missing: The titles of what was not measured, and why.
        without: The reasons by the path of the missing figures, such as "frechet/histogram" in a
            report, "histogram" in its section, or "" for all of a section. They are null in
            `report.json`.
        failed: The titles in `missing` that failed because of an error in the program.
    """

    missing: dict[str, str] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @contextmanager
    def attempt(self, name: str, place: str | None = None) -> Iterator[None]:
        """Runs a measurement or a part of it in a `with` block; if it fails, records why.

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
        """Records that something was not measured, and why."""
        self.missing[name] = " ".join(why.split())
        if place is not None:
            self.without[place] = self.missing[name]


@dataclass
class Section(Record):
    """The part of a report that one measurement fills: figures, blocks and text.

    Attributes:
        title: The heading of the section.
        key: The key of its figures in `report.json`.
        chapter: The part of the page that it belongs to.
        figures: The figures by name, or dictionaries of figures.
        blocks: The blocks that it shows, in order; their files' names begin with the keys.
        cards: The figures that are shown at the top of the page.
        facts: Facts on data and model in words, by name.
        lead: A sentence for the top of the page.
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
