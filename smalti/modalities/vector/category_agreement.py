"""Measures how well codes agree with categories: purity and NMI, beside shuffled IDs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from smalti.data.items import Category
from smalti.errors import InputError
from smalti.modalities.vector.agreement import (
    adjusted_mutual_information,
    agreement,
    agreement_by_chance,
    is_above,
)
from smalti.modalities.vector.prefixes import (
    Groups,
    groups_by_prefix,
    prefix_in_words,
    why_no_codes,
)
from smalti.reporting import Measurement, Section, Subject, Table, Text, figure
from smalti.reporting.figures import NARROW_SPACE, number

__all__ = ["CategoryAgreement"]

SHUFFLES, FEW_SHUFFLES = 20, 5  # of a set, and of one of more than MANY items
MANY = 200_000


class CategoryAgreement(Measurement[Subject]):
    """Measures purity and NMI of items grouped by their first q codes, for each category column."""

    key: ClassVar[str] = "categories"
    title: ClassVar[str] = "Categories"
    chapter: ClassVar[str] = "Categories"
    compared: ClassVar[Mapping[str, tuple[str | int, ...]]] = {
        "purity of the first code, {}": (0, "1", "purity"),
        "NMI of the first code, {}": (0, "1", "nmi"),
    }

    def applies(self, subject: Subject) -> str | None:
        """See `Measurement.applies`."""
        items = subject.splits.items
        if items is None or not items.categories or subject.splits.manifest is None:
            return "the data have no columns of categories."
        return why_no_codes(subject)

    def run(self, subject: Subject) -> Section:
        """See `Measurement.run`."""
        section, items = self.section(), subject.splits.items
        rows = items.rows(subject.splits.manifest)
        depths = groups_by_prefix(subject.codes)
        section.blocks["introduction"] = Text(
            "How often an item has the category that is most frequent among items with the same "
            "first codes (purity), and how much these codes and the category say of each other "
            "(NMI: 0 nothing, 1 all). Both rise with the number of different prefixes by "
            "themselves, so beside them stands what IDs that are shuffled among the items have; "
            "AMI is NMI adjusted for that: 0 where codes say no more than chance."
        )
        for name, category in items.categories.items():
            with section.attempt(name, name):
                mine = category.take(rows)
                figures = _measured(depths, mine, name, subject.seed)
                section.figures[name] = figures
                section.blocks[f"{name}-said"] = Text(_in_words(name, figures))
                section.blocks[name] = _table(name, mine, depths, figures)
        return section


def _measured(depths: list[Groups], category: Category, name: str, seed: int) -> dict[str, Any]:
    """Returns the figures of one category, by the number of codes."""
    known = category.codes >= 0
    numbers = np.unique(category.codes[known], return_inverse=True)[1]
    n = len(numbers)
    if not n:
        raise InputError(f"the {name} of no item is known.")
    times = _times(n)
    figures: dict[str, Any] = {}
    for q, groups in enumerate(depths, start=1):
        of = np.unique(groups.group_of[known], return_inverse=True)[1]
        found = agreement(of, numbers)
        mean, spread = agreement_by_chance(of, numbers, times, seed)
        on = f"N = {number(n)} items of all splits whose {name} is known; the {prefix_in_words(q)}"
        by_chance = f"{on}, shuffled among the items {times} times"
        figures[str(q)] = {
            "purity": figure(found.purity, "share", f"{on}; purity"),
            "purity_shuffled": figure(mean.purity, "share", f"{by_chance}; mean purity"),
            "purity_shuffled_spread": figure(
                spread.purity, "share", f"{by_chance}; standard deviation of the purity"
            ),
            "nmi": figure(found.nmi, "", f"{on}; mutual information over the mean entropy"),
            "nmi_shuffled": figure(mean.nmi, "", f"{by_chance}; mean NMI"),
            "nmi_shuffled_spread": figure(
                spread.nmi, "", f"{by_chance}; standard deviation of the NMI"
            ),
            "ami": figure(
                adjusted_mutual_information(found, mean),
                "",
                f"{by_chance}; NMI adjusted for that of shuffled IDs",
            ),
        }
    return figures


def _in_words(name: str, figures: dict[str, Any]) -> str:
    """Says whether codes say more of a category than IDs that are shuffled, and how much."""
    above = {
        key: [q for q, measured in figures.items() if _is_above(measured, key)]
        for key in ("nmi", "purity")
    }
    best = max(figures, key=lambda q: figures[q]["ami"]["value"])
    first = next(iter(above["nmi"] or above["purity"]), "1")
    shown = figures[first]
    told = (
        f"NMI of the {prefix_in_words(int(first))} is {shown['nmi']['value']:.4f}, of shuffled IDs "
        f"{_spread(shown, 'nmi')}; purity {100 * shown['purity']['value']:.1f}{NARROW_SPACE}% "
        f"against {_spread(shown, 'purity')}"
    )
    if not above["nmi"] and not above["purity"]:
        return f"Codes say no more of {name} than chance, at any depth: {told}."
    if not above["nmi"]:
        return f"By NMI codes say no more of {name} than chance; {_where(above, figures)}: {told}."
    says = "says" if best == "1" else "say"
    most = f"Adjusted for chance the {prefix_in_words(int(best))} {says} most of it"
    ami = f"{most}, AMI {figures[best]['ami']['value']:.3f}."
    depths = _depths(above["nmi"], figures)
    also = "" if above["purity"] == above["nmi"] else f" {_where(above, figures).capitalize()}."
    return f"Codes say more of {name} than chance {depths}: {told}.{also} {ami}"


def _where(above: dict[str, list[str]], figures: dict[str, Any]) -> str:
    """Says at which depths purity is above chance."""
    if not above["purity"]:
        return "purity is not above chance at any depth"
    return f"purity is above chance {_depths(above['purity'], figures)}"


def _depths(chosen: list[str], figures: dict[str, Any]) -> str:
    if len(chosen) == len(figures):
        return "at every depth"
    return f"by the {' and the '.join(prefix_in_words(int(q)) for q in chosen)} alone"


def _is_above(measured: dict[str, Any], key: str) -> bool:
    keys = (key, f"{key}_shuffled", f"{key}_shuffled_spread")
    return is_above(*(measured[name]["value"] for name in keys))


def _table(name: str, category: Category, depths: list[Groups], figures: dict[str, Any]) -> Table:
    rows: dict[str, list[Any]] = {}
    for q, groups in enumerate(depths, start=1):
        measured = figures[str(q)]
        rows[prefix_in_words(q)] = [
            number(len(groups.sizes)),
            measured["purity"],
            _spread(measured, "purity"),
            f"{measured['nmi']['value']:.4f}",
            _spread(measured, "nmi"),
            f"{measured['ami']['value']:z.4f}",
        ]
    n = int((category.codes >= 0).sum())
    note = f"N = {number(n)} items of all splits whose {name} is known; IDs were shuffled among"
    values = f"{name}: {number(len(category.names))} values"
    columns = (values, "prefixes", "purity", "of shuffled IDs", "NMI", "of shuffled IDs", "AMI")
    times = (
        f"{note} them {_times(n)} times: mean ± standard deviation; above chance: by more than 3"
    )
    return Table(columns, rows, notes=[times])


def _times(n: int) -> int:
    """Returns how often the IDs of n items are shuffled."""
    return SHUFFLES if n <= MANY else FEW_SHUFFLES


def _spread(measured: dict[str, Any], name: str) -> str:
    """Formats a mean with its standard deviation."""
    mean, spread = measured[f"{name}_shuffled"], measured[f"{name}_shuffled_spread"]
    if mean["unit"] == "share":
        return f"{100 * mean['value']:.1f}{NARROW_SPACE}% ± {100 * spread['value']:.2f}"
    return f"{mean['value']:.4f} ± {spread['value']:.4f}"
