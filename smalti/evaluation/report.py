"""The report of a model: figures with their protocols, pictures, and what could not be measured.

A report is made measurement by measurement, each in a block of `Report.attempt`. One that cannot be
taken (a label without training images, too few samples for a covariance) is a line in the report
and never the end of it. So is one that fails in a way that nobody foresaw; its traceback is logged
too, and `failed` names it, so that no fault in the program is hidden.

`report.html` is one file that holds everything, pictures included: no script, nothing fetched from
anywhere. It can be sent to somebody, opened years later, and read by day, by night and on a phone.
`report.json` holds the same figures for programs.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from smalti import __version__
from smalti.errors import InputError, first_line
from smalti.files import write_text
from smalti.modalities.image.pictures import save_png
from smalti.outputs import check_file
from smalti.reporting.figures import display, finite, is_figure

__all__ = ["Picture", "Report"]

logger = logging.getLogger(__name__)

# The names of the files of all pictures that a report of smalti's can have.
PICTURES = re.compile(
    r"(reconstructions|likely|levels|clocks|rejection-[\w.]+|codebook-\d+|labels-\d+"
    r"|samples-(prior|histogram|uniform)|curves-(tokenizer|prior|autoencoder).*"
    r"|latents-(dimensions|interpolations|traversals))\.png"
)

# What data and models can bring about, however right the program is.
FORESEEN = (
    InputError,
    ArithmeticError,
    MemoryError,
    torch.linalg.LinAlgError,  # type: ignore[attr-defined]
    torch.OutOfMemoryError,
)


class Picture(NamedTuple):
    """An image and what it shows, in words."""

    image: Image.Image
    caption: str


@dataclass
class Report:
    """What was measured of a model.

    Attributes:
        title: What the report is about.
        summary: One sentence on what the model does.
        facts: Data and model, by name, in words.
        figures: By section; figures are dictionaries of value, unit and protocol, nested at most
            once more (`figures["rate"]["prior"]["bits_per_index"]["value"]`).
        pictures: By name, with a slash where several belong together ("samples/prior").
        missing: What was not computed, and why.
        without: The same by its place in `figures` ("frechet/histogram"), where it has one: null
            in `report.json`, with the reason.
        failed: Of what is missing, that which failed in a way that nobody foresaw.
        made_from: Checksums of the data and the models that were measured, by name.
    """

    FILES: ClassVar = ("report.json", "report.html")
    PICTURES: ClassVar = PICTURES

    title: str
    summary: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @contextmanager
    def attempt(self, name: str, place: str = "") -> Iterator[None]:
        """Takes one measurement: if it cannot be taken, the report says so and goes on.

        Arguments:
            name: What is measured, in words.
            place: Where its figures belong, e.g. "frechet/histogram".

        Example:
            >>> report = Report("Digits")
            >>> with report.attempt("Sharpness", "sharpness"):
            ...     raise InputError("There are no images: add some.")
            >>> report.missing
            {'Sharpness': 'There are no images: add some.'}
        """
        try:
            yield
        except FORESEEN as error:
            out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
            known = isinstance(error, InputError)
            self.leave_out(
                name,
                str(error)
                if known
                else "there is not enough memory for it."
                if out_of_memory
                else f"the numbers do not allow it ({first_line(error)}).",
                place,
            )
        except Exception as error:
            kind = type(error).__name__
            logger.error("%s could not be measured", name, exc_info=error)
            self.failed.append(name)
            self.leave_out(name, f"it failed ({kind}: {first_line(error)}); see the log.", place)

    def leave_out(self, name: str, why: str, place: str = "") -> None:
        """Says that something is not in the report, and why; see `attempt`."""
        self.missing[name] = " ".join(why.split())
        if place:
            self.without[place] = self.missing[name]

    made_from: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Returns all but the pictures, as strict JSON: null and the reason for what is missing."""
        content = {
            "title": self.title,
            "summary": self.summary,
            "smalti_version": __version__,
            "made_from": self.made_from,
            "facts": self.facts,
            "figures": _with_nulls(finite(self.figures), self.without),
            "missing": self.missing,
        }
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_html(self) -> str:
        """One page that needs no other file."""
        environment = Environment(
            loader=PackageLoader("smalti.evaluation", "."),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"display": display, "protocols": protocols, "embedded": _embedded}
        stages = dict.fromkeys(name.partition("/")[0] for name in self.under("curves"))
        said: set[str] = set()

        def missing(*names: str) -> dict[str, str]:
            """Lists which of the names are missing; without names, all that were not listed yet."""
            found = {n: why for n, why in self.missing.items() if n in (names or self.missing)}
            found = {n: why for n, why in found.items() if n not in said}
            said.update(found)
            return found

        template = environment.get_template("report.html.j2")
        page = template.render(
            report=self,
            version=__version__,
            under=self.under,
            stages=list(stages),
            missing_of=missing,
        )
        return page.lstrip()

    def under(self, prefix: str) -> dict[str, Picture]:
        """The pictures whose names start with `prefix/`, by the rest of the name."""
        prefix += "/"
        return {
            name.removeprefix(prefix): picture
            for name, picture in self.pictures.items()
            if name.startswith(prefix)
        }

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Writes `report.html` and `report.json`, each whole or not at all.

        Raises:
            InputError: If a file that smalti did not write would be replaced without `overwrite`.
        """
        for name in self.FILES:
            check_file(Path(folder) / name, overwrite)
        write_text(Path(folder) / "report.json", self.to_json())
        write_text(Path(folder) / "report.html", self.to_html())

    def save_pictures(self, folder: str | Path, overwrite: bool = False) -> None:
        """Writes each picture to a PNG of its own, e.g. `samples-prior.png`.

        Raises:
            InputError: If a file that smalti did not write would be replaced without `overwrite`.
        """
        files = [Path(folder) / f"{name.replace('/', '-')}.png" for name in self.pictures]
        for file in files:
            check_file(file, overwrite)
        for file, picture in zip(files, self.pictures.values(), strict=True):
            save_png(picture.image, file, overwrite)


def _with_nulls(figures: dict[str, Any], without: Mapping[str, str]) -> dict[str, Any]:
    """Figures as JSON holds them, with a null and the reason in each place that has none."""
    for place, why in without.items():
        *path, last = place.split("/")
        branch = figures
        for name in path:
            branch = branch.setdefault(name, {})
        branch.setdefault(last, {"value": None, "unit": "", "protocol": "", "note": why})
    return figures


def protocols(figures: Mapping[str, Any]) -> list[str]:
    """The different protocols of nested figures, in their order."""
    if is_figure(figures):
        return [figures["protocol"]]
    found = [protocol for branch in figures.values() for protocol in protocols(branch)]
    return list(dict.fromkeys(found))


def _embedded(image: Image.Image) -> str:
    """A picture as the address of an `img`."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
