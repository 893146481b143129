"""Measures whether generated clocks show the time that they should.

How many real, reconstructed and generated clocks are read right, see `clock_reading`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from smalti.conditions import TimeOfDay
from smalti.modalities.image.pictures import grid, to_png
from smalti.reporting import Card, FigureTable, Measurement, Picture, Section, Subject, figure
from smalti.reporting.figures import number
from smalti.synthetic.clock_reader import ClockReader
from smalti.synthetic.clock_reading import (
    TOLERANCE,
    add_frames,
    minutes_off,
    requested_times,
    within_tolerance,
)

__all__ = ["ReadingOfClocks"]

logger = logging.getLogger(__name__)

READ = 500  # test clocks, to see how well the reader reads
TITLES = {
    "generated": "Generated clocks read within 5 minutes",
    "median_error": "Median error of generated clocks",
    "reconstructions": "Reconstructions read within 5 minutes",
    "test": "Test clocks read within 5 minutes",
}


class ReadingOfClocks(Measurement[Subject]):
    """Measures the share of clocks that show the time that they should, read by `ClockReader`.

    The clocks are test clocks, their reconstructions, and samples of a prior for given times.
    """

    key: ClassVar[str] = "clocks"
    title: ClassVar[str] = "Clocks at given times"
    chapter: ClassVar[str] = "Samples"
    file_names: ClassVar[str] = r"clocks"

    def applies(self, subject: Subject) -> str | None:
        """See `Measurement.applies`."""
        if not isinstance(subject.splits.condition, TimeOfDay):
            return "the data show no times."
        return None

    def run(self, subject: Subject) -> Section:
        """See `Measurement.run`."""
        section = self.section()
        reader = ClockReader(subject.splits.signal.size[0])
        _read(section, subject, reader)
        prior = subject.prior
        if prior is None or prior.condition is None:
            section.leave_out("Generated clocks", "there is no prior conditional on the time.")
        else:
            with section.attempt("Generated clocks", "generated"):
                _generated(section, subject, prior, reader)
        section.blocks["table"] = FigureTable(
            {title: section.figures[key] for key, title in TITLES.items() if key in section.figures}
        )
        return section


def _read(section: Section, subject: Subject, reader: ClockReader) -> None:
    """Adds to the section how many real and reconstructed clocks are read right."""
    logger.info("reading clocks")
    chosen = subject.order[:READ]
    protocol = (
        f"read by matching of rendered templates; right is at most {TOLERANCE} minutes off on the "
        f"12-hour dial; N = {number(len(chosen))} of the test set"
    )
    sets: dict[str, Callable[[], Iterable[Tensor]]] = {
        "reconstructions": lambda: subject.reconstructed(chosen),
        "test": lambda: [subject.test_examples(chosen)],
    }
    for name, images in sets.items():
        with section.attempt(f"Times read off {subject.words[name]}", name):
            times = subject.conditions
            assert times is not None
            off = minutes_off(reader, images(), times[chosen])
            share = within_tolerance(off).double().mean().item()
            section.figures[name] = figure(share, "share", protocol)


def _generated(section: Section, subject: Subject, prior: Any, reader: ClockReader) -> None:
    """Adds how many generated clocks show the time that was asked for, and their picture."""
    asked = requested_times()
    images = torch.cat(list(subject.decoded(subject.drawn(prior, len(asked), asked))))
    off = minutes_off(reader, [images], asked)
    protocol = (
        f"N = {len(asked)}: one clock for every 5 minutes of 12 hours, temperature 1, "
        f"seed {subject.seed}; read by matching of rendered templates"
    )
    misread = ~within_tolerance(off)
    wrong = int(misread.sum())
    right = figure(
        1 - wrong / len(asked), "share", f"{protocol}; right is at most {TOLERANCE} minutes off"
    )
    section.figures |= {
        "generated": right,
        "median_error": figure(off.median().item(), "minutes", protocol),
    }
    within = f"within {TOLERANCE} minutes of the time asked for"
    section.cards.append(Card(right, "of generated clocks read right", within))
    frames = f" A red frame: read more than {TOLERANCE} minutes off ({wrong})." if wrong else ""
    section.blocks["clocks"] = Picture(
        to_png(grid(add_frames(images, misread), columns=12, padding=0)),
        f"One row per hour from 12:00 on, one column every 5 minutes.{frames}",
    )
