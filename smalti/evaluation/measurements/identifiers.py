"""IDs of items: how many items have an ID of their own, and how evenly codes are used.

It is measured on the whole set, training, validation and test together, for an ID is one of all
items. The figures are defined in `smalti.ids.occupancy`, what is said of them in words in
`smalti.ids.verdicts`. Where a run has given IDs, they are measured after collisions are resolved,
too, and what that costs: the metrics of reconstructions from an ID beside those from the codes that
the tokenizer gave.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from smalti.artifacts import checksum
from smalti.autoencoders.inputs import device_of
from smalti.checksums import check_made_from
from smalti.counting import counted
from smalti.data.splitting import copy_sizes
from smalti.errors import InputError
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.ids import IdTable, Occupancy, PrefixTree, occupancy, verdicts
from smalti.item_ids import item_names, iterate_items, list_sets, why_no_items
from smalti.reporting import Card, Figure, Measurement, Section, Table, Text, figure
from smalti.reporting.figures import number, protocols

__all__ = ["Identifiers"]

COMPARED = 50_000  # items whose reconstructions from both IDs are compared, at most
WAYS = {
    "index": "a further code numbers the items that share their codes",
    "nearest": "the nearest item keeps its codes, others take the nearest that are free",
    "none": "collisions stay",
}


class Identifiers(Measurement[EvaluationContext]):
    """Measures how items share IDs, and how the codes of each level are used."""

    key: ClassVar[str] = "identifiers"
    title: ClassVar[str] = "IDs of items"
    chapter: ClassVar[str] = "IDs"
    compared: ClassVar[Mapping[str, tuple[str | int, ...]]] = {
        "unique share": ("before", "own_id"),
        "dead codewords": ("before", "dead"),
    }

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        if subject.tokenizer is None:
            return "the latents of the model are no tokens."
        if why := why_no_items(subject.tokenizer):
            return f"{why}."
        splits = subject.splits
        if any(part.endless for part in (splits.train, splits.validation, splits.test)):
            return "the examples have no end."
        return None

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        section, table = self.section(), find_ids(subject)
        sizes = subject.tokens.layout.sizes
        own = occupancy(PrefixTree(table.own, sizes))
        after = None if table.collisions == "none" else occupancy(table.tree)
        measured_on = f"all splits together, N = {number(len(table))}"
        section.figures["before"] = _figures(
            own, f"{measured_on}; codes as the tokenizer gives them"
        )
        if after is not None:
            how = f"{measured_on}; resolved: {WAYS[table.collisions]}"
            section.figures["after"] = _figures(after, how)
            section.figures["after"]["resolved"] = figure(
                table.resolved.mean(), "share", f"{how}; share of items whose ID was changed by it"
            )
        said = verdicts(own, *_copies(subject, table))
        for place, sentence in enumerate(said or [_nothing_wrong(own)]):
            section.blocks[f"verdict-{place}"] = Text(sentence)
        section.cards.append(
            Card(
                section.figures["before"]["own_id"],
                "of the items have an ID of their own",
                "before collisions are resolved; " + (said[0] if said else "nothing is wrong"),
            )
        )
        if table.collisions == "nearest":
            with section.attempt("What resolving costs"):
                _compare(subject, table, section.figures)
        section.blocks["items"] = _items_table(section, subject, len(table), table.collisions)
        section.blocks["levels"] = _levels_table(section, own, after)
        section.blocks["prefixes"] = _prefix_table(section, own, after)
        return section


def find_ids(subject: EvaluationContext) -> IdTable:
    """Returns the IDs of all items: those of the run, or else codes with unresolved collisions.

    Raises:
        InputError: If the run's IDs are damaged, or of another tokenizer.
    """
    run = subject.run
    if run is None or not run.ids.exists():
        codes = subject.codes.numpy()
        names = pa.array(map(str, range(len(codes))), pa.string())
        return IdTable(names, codes, codes, subject.tokens.layout.sizes)
    table = IdTable.read(run.ids)
    mend = "copy the right one back, or delete it and fit again to give IDs anew."
    wanted = {"tokenizer": (checksum(run.tokenizer),)}
    check_made_from(str(run.ids), table.made_from, wanted, mend)
    return table


def _copies(subject: EvaluationContext, table: IdTable) -> tuple[int, int]:
    """Counts the items that another is an exact copy of, and pairs of such, by the manifest."""
    manifest = subject.splits.manifest
    if manifest is None or not len(manifest):
        return 0, 0
    kinds = copy_sizes(manifest.fingerprints).astype(np.int64)
    return int(kinds.sum()), int((kinds * (kinds - 1) // 2).sum())


def _figures(used: Occupancy, measured_on: str) -> dict[str, Figure]:
    """Returns the figures of IDs."""
    found = {
        "ids_per_item": figure(
            used.per_item, "share", f"{measured_on}; different IDs over the number of items"
        ),
        "own_id": figure(
            used.alone, "share", f"{measured_on}; share of items whose ID no other has"
        ),
        "largest_collision": figure(
            used.largest, "items", f"{measured_on}; most items with one ID"
        ),
    }
    size = sum(level.codebook_size for level in used.levels)
    found["dead"] = figure(
        1 - sum(level.used for level in used.levels) / size,
        "share",
        f"{measured_on}; share of the {number(size)} codes of all levels that no item has",
    )
    for n, level in enumerate(used.levels, start=1):
        of = f"{measured_on}; level {n}, K = {level.codebook_size}"
        found[f"entropy_{n}"] = figure(
            level.entropy, "bits", f"{of}; entropy of how often each code is chosen"
        )
        found[f"gini_{n}"] = figure(
            level.gini, "", f"{of}; Gini of how often each code is chosen: 0 where all are equal"
        )
        found[f"dead_{n}"] = figure(level.dead, "share", f"{of}; share of codes that no item has")
    for n, depth in enumerate(used.depths, start=1):
        of = f"{measured_on}; the first {counted(n, 'code')}"
        found[f"prefixes_{n}"] = figure(depth.prefixes, "prefixes", f"{of}; how many differ")
        found[f"shared_prefix_{n}"] = figure(
            1 - depth.alone, "share", f"{of}; share of items that share them with another"
        )
        found[f"largest_prefix_{n}"] = figure(
            depth.largest, "items", f"{of}; most items with the same"
        )
    return found


@torch.no_grad()
def _compare(
    subject: EvaluationContext, table: IdTable, figures: dict[str, dict[str, Figure]]
) -> None:
    """Adds the metrics of reconstructions from the codes before and after resolving."""
    parts = list_sets(subject.splits)
    names = item_names(subject.splits).cast(pa.large_string())
    rows = pc.index_in(names, value_set=table.item_ids)
    there = np.flatnonzero(rows.is_valid().to_numpy(zero_copy_only=False))
    if not len(there):
        raise InputError("none of the items is among the examples there are now.")
    generator = torch.Generator().manual_seed(subject.seed)
    chosen = torch.randperm(len(there), generator=generator)[:COMPARED].sort().values
    numbers = torch.from_numpy(there)[chosen]
    of_table = rows.take(pa.array(numbers.numpy())).to_numpy()
    drawn = "" if len(there) <= COMPARED else f" of {number(len(there))} drawn at random"
    device, shape = device_of(subject.tokens), subject.tokens.layout.shape
    for when, codes in (("before", table.own), ("after", table.codes)):
        metrics = subject.modality.metrics(subject.splits.signal)
        for places, x in iterate_items(parts, numbers):
            given = torch.from_numpy(codes[of_table[places.numpy()]]).long()
            x_hat = subject.decode(given.reshape(-1, *shape).to(device))
            for metric in metrics:
                metric.update(x.to(device), x_hat)
        measured_on = f"all splits together, N = {number(len(numbers))}{drawn}, {when} resolving"
        for metric in metrics:
            figures[when] |= metric.figures(measured_on)


def _nothing_wrong(used: Occupancy) -> str:
    """Says that nothing is wrong."""
    return (
        f"Nothing is wrong with these IDs: {100 * used.alone:.1f} % of the items have one of their "
        f"own before collisions are resolved, and every level tells items apart."
    )


def _columns(section: Section) -> dict[str, Mapping[str, Figure]]:
    titles = {"before": "Before resolving", "after": "After resolving"}
    return {titles[when]: figures for when, figures in section.figures.items()}


def _items_table(section: Section, subject: EvaluationContext, items: int, way: str) -> Table:
    """Shows what is of whole IDs."""
    columns, metrics = _columns(section), subject.modality.metrics(subject.splits.signal)
    names = {
        "ids_per_item": "IDs per item",
        "own_id": "Items with an ID of their own",
        "largest_collision": "Most items with one ID",
        "resolved": "Items whose ID was changed",
    }
    for metric in metrics:
        names |= {key: f"{name} of reconstructions" for key, name in metric.names.items()}
    rows = {
        name: [figures.get(key) for figures in columns.values()]
        for key, name in names.items()
        if any(key in figures for figures in columns.values())
    }
    measured = f"all splits together, N = {number(items)}, for an ID is one of all items"
    how = [] if way == "none" else [f"resolved: {WAYS[way]}"]
    words = (
        "IDs per item: different IDs over items; an ID of its own: one that no other item has; "
        "most items with one ID: the largest collision"
    )
    errors = {
        key: figure
        for figures in section.figures.values()
        for key, figure in figures.items()
        if any(key in metric.names for metric in metrics)
    }
    notes = [measured, words, *how, *protocols(errors)]
    return Table(("", *columns), rows, notes=notes)


def _levels_table(section: Section, own: Occupancy, after: Occupancy | None) -> Table:
    """Shows how the codes of each level are used."""
    rows: dict[str, list[Figure | str | None]] = {}
    for when, used in (("before", own), ("after", after)):
        for n, level in enumerate(used.levels if used else (), start=1):
            figures = section.figures[when]
            cells: list[Figure | str | None] = [number(level.codebook_size), number(level.used)]
            cells += [figures[f"{key}_{n}"] for key in ("dead", "entropy", "gini")]
            name = f"Level {n}" if n <= len(own.levels) else "Further code"
            rows[f"{name}{', after resolving' if when == 'after' else ''}"] = cells
    columns = ("", "Codes", "Used", "Never used", "Entropy", "Gini")
    further = after is not None and len(after.levels) > len(own.levels)
    note = "the further code numbers the items that share their codes, and is 0 for all others"
    return Table(columns, rows, notes=[note] if further else ())


def _prefix_table(section: Section, own: Occupancy, after: Occupancy | None) -> Table:
    """Shows how items share prefixes of each depth."""
    rows: dict[str, list[Figure | str | None]] = {}
    for when, used in (("before", own), ("after", after)):
        for n, depth in enumerate(used.depths if used else (), start=1):
            figures = section.figures[when]
            cells: list[Figure | str | None] = [figures[f"prefixes_{n}"]]
            cells.append(f"{own.items / depth.prefixes:.3g}")
            cells += [figures[f"{key}_{n}"] for key in ("shared_prefix", "largest_prefix")]
            after_words = ", after resolving" if when == "after" else ""
            first = "First code" if n == 1 else f"First {n} codes"
            name = first if n <= len(own.depths) else "Whole IDs"
            rows[f"{name}{after_words}"] = cells
    columns = ("", "Different", "Items per prefix", "Items that share it", "Most items with one")
    return Table(columns, rows)
