"""The report of a model: one section per measurement, and what could not be measured.

A report is made measurement by measurement. One that cannot be taken (a label without training
examples, too few samples for a covariance) is a line in the report and never the end of it. So is
one that fails by an unexpected error; its traceback is logged too, and `failed` names it, so
that no fault in the program is hidden.

`report.html` is one file that holds everything, pictures included: no script, nothing fetched from
anywhere. It can be sent to somebody, opened years later, and read by day, by night and on a phone.
`report.json` holds the same figures for programs. The page is a loop over chapters, sections and
blocks, and knows none of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from smalti import __version__
from smalti.files import atomic_file, write_text
from smalti.outputs import check_file
from smalti.reporting import Measurement, Section, display
from smalti.reporting.figures import replace_infinite
from smalti.reporting.section import Record

__all__ = ["Report"]


@dataclass
class Report(Record):
    """The report of a model: the sections of all measurements; `save` writes it as a page and JSON.

    Attributes:
        title: The title of the page.
        summary: One sentence on what the model does.
        sections: The section of each measurement, in the order in which they were taken.
        facts: Facts on data and model in words, by name.
        not_applicable: Measurements that do not apply to such data or such a model, and why.
        made_from: Checksums of the data and the models that were measured, by name.
        Others: see `Record`.
    """

    FILES: ClassVar = ("report.json", "report.html")

    title: str
    summary: str = ""
    sections: list[Section] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)
    made_from: dict[str, str] = field(default_factory=dict)

    def take(self, measurement: Measurement, subject: Any) -> None:
        """Takes a measurement and adds its section, or the reason why it has none.

        Arguments:
            measurement: The measurement.
            subject: The model and data that it is taken of.
        """
        section = measurement.section()
        with section.attempt(measurement.title, ""):
            why = measurement.applies(subject)
            if why is not None:
                self.not_applicable[measurement.title] = why
                return
            section = measurement.run(subject)
        self.add(section)

    def add(self, section: Section) -> None:
        """Adds a section, with its facts and with what is missing in it."""
        self.sections.append(section)
        self.summary = section.lead or self.summary
        self.facts |= section.facts
        self.missing |= section.missing
        self.failed += section.failed
        for place, why in section.without.items():
            self.without["/".join(filter(None, (section.key, place)))] = why

    @property
    def figures(self) -> dict[str, Any]:
        """Returns the figures by section; figures are dictionaries of value, unit and protocol,
        nested once or twice.

        `figures["rate"]["prior"]["bits_per_index"]["value"]` is a number.
        """
        return {section.key: section.figures for section in self.sections if section.figures}

    def files(self) -> dict[str, bytes]:
        """Returns the contents of the files beside the page, by name, e.g. `samples-prior.png`."""
        return {
            name: content for section in self.sections for name, content in section.files().items()
        }

    def to_json(self) -> str:
        """Returns all but the blocks, as strict JSON: null and the reason for what is missing."""
        content = {
            "title": self.title,
            "summary": self.summary,
            "smalti_version": __version__,
            "made_from": self.made_from,
            "facts": self.facts,
            "figures": _with_nulls(replace_infinite(self.figures), self.without),
            "missing": self.missing,
            "not_applicable": self.not_applicable,
        }
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_html(self) -> str:
        """Returns one page that needs no other file."""
        environment = Environment(
            loader=PackageLoader("smalti.evaluation", "."),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["display"] = display
        chapters: dict[str, list[Section]] = {}
        for section in self.sections:
            if section.blocks or section.missing:
                chapters.setdefault(section.chapter, []).append(section)
        said = {name for section in self.sections for name in section.missing}
        page = environment.get_template("report.html.j2").render(
            report=self,
            version=__version__,
            chapters=chapters,
            elsewhere={name: why for name, why in self.missing.items() if name not in said},
        )
        return page.lstrip()

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
        """Writes each picture and what else the blocks hold to a file, e.g. `samples-prior.png`.

        Raises:
            InputError: If a file that smalti did not write would be replaced without `overwrite`.
        """
        files = {Path(folder) / name: content for name, content in self.files().items()}
        for path in files:
            check_file(path, overwrite)
        for path, content in files.items():
            with atomic_file(path) as temporary:
                temporary.write_bytes(content)


def _with_nulls(figures: dict[str, Any], without: Mapping[str, str]) -> dict[str, Any]:
    """Adds to figures, for JSON, a null and the reason in each place that has none."""
    for place, why in without.items():
        *path, last = place.split("/")
        branch = figures
        for name in path:
            branch = branch.setdefault(name, {})
        branch.setdefault(last, {"value": None, "unit": "", "protocol": "", "note": why})
    return figures
