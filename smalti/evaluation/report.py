"""The report of a model: figures with their protocols, pictures, and what could not be measured.

`report.html` is one file that holds everything, pictures included: no script, nothing fetched from
anywhere. It can be sent to somebody, opened years later, and read by day, by night and on a phone.
`report.json` holds the same figures for programs.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from smalti import __version__
from smalti.evaluation.figures import display, finite, is_figure
from smalti.files import write_text
from smalti.outputs import check_file
from smalti.pictures import save_png

__all__ = ["Picture", "Report"]


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
    """

    FILES: ClassVar = ("report.json", "report.html")

    title: str
    summary: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """All but the pictures, as strict JSON: an infinite value is null, with a note."""
        content = {
            "title": self.title,
            "summary": self.summary,
            "smalti_version": __version__,
            "facts": self.facts,
            "figures": finite(self.figures),
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
        template = environment.get_template("report.html.j2")
        page = template.render(
            report=self, version=__version__, under=self.under, stages=list(stages)
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
