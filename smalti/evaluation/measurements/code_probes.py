"""What codes tell of what they were made from: linear probes of labels, over time.

For each label of the examples, such as what was said and who said it, a logistic regression is
fitted to codes of training examples and asked about those of the test set. The codes of an example
become features in two ways, for each of its codebooks:

    histogram    how often each code comes, of all its positions
    order        the same of each quarter of its length: what comes first, and what later

The first forgets the order, so that it knows of lasting properties such as a voice; what only the
second tells lies in the order. Both stand beside the share of the most frequent label.

References:
    Understanding intermediate layers using linear classifier probes, G. Alain and Y. Bengio, 2016,
    arXiv 1610.01644.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from smalti.conditions import Label, conditions_by_name
from smalti.conditions.base import from_columns, num_columns, to_columns
from smalti.data import Examples
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.evaluation.representation import linear_probe
from smalti.reporting import Measurement, Section, Table, Text, figure
from smalti.reporting.figures import number, protocols
from smalti.spelling import readable

__all__ = ["CodeProbes", "count_codes"]

EXAMPLES = 2000  # training examples that a probe is fitted to, at most
FEATURES = 4096  # of a codebook alone, at most: of more codebooks the first are taken
PARTS = 4  # of the length, whose order counts
TOLD = 0.05  # share of what the most frequent label leaves to be told, below which it is nothing
LEAST = 8  # examples of each set
WAYS = {"histogram": "Histogram of codes", "order": "Histograms of quarters"}


class CodeProbes(Measurement[EvaluationContext]):
    """Measures how well labels can be read from codes by hyperplanes, with and without order."""

    key: ClassVar[str] = "code_probes"
    title: ClassVar[str] = "What codes tell"
    chapter: ClassVar[str] = "Tokens"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        splits = subject.splits
        if subject.tokenizer is None:
            return "the latents of this model are no tokens."
        if splits.signal.spatial_dims != 1:
            return f"{splits.signal.plural} do not run over time."
        if splits.train.endless or min(len(splits.train), len(subject.test)) < LEAST:
            return f"it takes at least {LEAST} examples of each set."
        if not _labels_of(splits.condition) and not _categories(splits):
            return f"the {splits.signal.plural} have no labels."
        return None

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        section, splits = self.section(), subject.splits
        draw = torch.Generator().manual_seed(subject.seed)
        chosen = torch.randperm(len(splits.train), generator=draw)[:EXAMPLES].sort().values
        train = self._encoded(subject, splits.train, chosen.tolist())
        test = subject.encoded.latents
        truth = self._labels(subject, chosen)
        used = 0
        for name, (labels, test_labels) in truth.items():
            with section.attempt(f"What codes tell of the {name}", name):
                figures, used = self._probed(subject, train, test, labels, test_labels)
                section.figures[name] = figures
        if section.figures:
            _show(section, used, sum(map(len, subject.tokens.layout.codebook_sizes)))
        return section

    def _encoded(
        self, subject: EvaluationContext, examples: Examples, chosen: Sequence[int]
    ) -> Tensor:
        """Returns the tokens (n, *shape) of chosen examples, on the CPU."""
        parts = [subject.encode(x).cpu() for x, _ in subject.batches(examples, chosen)]
        return torch.cat(parts)

    def _labels(
        self, subject: EvaluationContext, chosen: Tensor
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Returns the numbers of each label of chosen training examples and of the test set."""
        splits, found = subject.splits, dict[str, tuple[Tensor, Tensor]]()
        test = torch.as_tensor(list(subject.test))
        for name in _labels_of(splits.condition):
            found[name] = (
                _part_of(splits.condition, name, splits.train.conditions_at(chosen.tolist())),
                _part_of(splits.condition, name, splits.test.conditions_at(test.tolist())),
            )
        before = len(splits.train) + len(splits.validation)
        for name, codes in _categories(splits).items():
            if name not in found:
                found[name] = codes[chosen], codes[before + test]
        return found

    def _probed(
        self,
        subject: EvaluationContext,
        train: Tensor,
        test: Tensor,
        labels: Tensor,
        test_labels: Tensor,
    ) -> tuple[dict[str, Any], int]:
        """Returns the figures of one label, and how many codebooks were used."""
        layout = subject.tokens.layout
        here, there = labels >= 0, test_labels >= 0
        common = test_labels[there].bincount().double()
        fitted = (
            f"{subject.test_set}; multinomial logistic regression on "
            f"{number(int(here.sum()))} training examples, "
        )
        figures = {
            "most_frequent": figure(
                (common.max() / common.sum()).item(),
                "share",
                f"{subject.test_set}; the most frequent label of these",
            )
        }
        used = 0
        for way, parts in (("histogram", 1), ("order", PARTS)):
            features, used = count_codes(layout.unpack(train[here]), layout.codebook_sizes, parts)
            seen, _ = count_codes(layout.unpack(test[there]), layout.codebook_sizes, parts)
            share = linear_probe(features, labels[here], seen, test_labels[there], decay=1e-2)
            what = f"of each of {parts} parts of the length" if parts > 1 else "of all positions"
            figures[way] = figure(share, "share", f"{fitted}shares of the codes {what}")
        return figures, used


def count_codes(
    grids: Sequence[Tensor], codebook_sizes: Sequence[Sequence[int]], parts: int
) -> tuple[Tensor, int]:
    """Counts how often each code of each codebook comes in each part of the length.

    Arguments:
        grids: The indices of each level, (N, T) or (N, T, Q), coarse to fine.
        codebook_sizes: The sizes of the Q codebooks of each level.
        parts: The number of equal parts of T.

    Returns:
        The square roots of shares (N, M), M = parts × the sizes of the codebooks that were used;
        and how many these are, the first ones.

    Example:
        >>> grid = torch.tensor([[0, 0, 1, 1], [0, 1, 0, 1]])
        >>> count_codes([grid], [(2,)], 1)[0].square()
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
        >>> count_codes([grid], [(2,)], 2)[0].square()
        tensor([[1.0000, 0.0000, 0.0000, 1.0000],
                [0.5000, 0.5000, 0.5000, 0.5000]])
    """
    columns: list[Tensor] = []
    used = 0
    for grid, sizes in zip(grids, codebook_sizes, strict=True):
        layered = grid.long().reshape(len(grid), -1, len(sizes))  # (N, T, Q)
        length = layered.shape[1]
        part = torch.arange(length) * min(parts, length) // length  # (T,)
        for q, size in enumerate(sizes):
            if used and size + sum(c.shape[1] for c in columns) // parts > FEATURES // parts:
                return torch.cat(columns, 1), used
            codes = layered[..., q]
            places = part * size + codes.clamp(min=0)
            counts = torch.zeros(len(grid), parts * size)
            counts.scatter_add_(1, places, (codes >= 0).float())
            total = counts.view(len(grid), parts, size).sum(2, keepdim=True).clamp(min=1)
            columns.append((counts.view(len(grid), parts, size) / total).flatten(1).sqrt())
            used += 1
    return torch.cat(columns, 1), used


def _labels_of(condition: Any) -> list[str]:
    """Returns the names of the labels among the conditions, of two values at least."""
    named = conditions_by_name(condition)
    return [name for name, one in named.items() if isinstance(one, Label) and one.dim > 1]


def _part_of(condition: Any, name: str, values: Tensor | None) -> Tensor:
    """Returns the numbers (N,), int64, of one of several conditions."""
    assert values is not None
    named = conditions_by_name(condition)
    widths = [num_columns(one) for one in named.values()]
    columns = to_columns(values).split(widths, 1)
    place = list(named).index(name)
    return from_columns(named[name], columns[place]).long()


def _categories(splits: Any) -> Mapping[str, Tensor]:
    """Returns the numbers of the categories of all examples in order, of two values at least."""
    if splits.items is None or splits.manifest is None:
        return {}
    rows = splits.items.rows(splits.manifest)
    found = {}
    for name, category in splits.items.categories.items():
        codes = category.take(rows).codes
        if len(np.unique(codes[codes >= 0])) > 1:
            found[str(name)] = torch.from_numpy(codes.astype(np.int64))
    return found


def _show(section: Section, used: int, codebooks: int) -> None:
    """Puts the figures into a table, and says in a sentence what is told best."""
    names = list(section.figures)
    rows: dict[str, list[Any]] = {
        title: [section.figures[name][way] for name in names] for way, title in WAYS.items()
    }
    rows["The most frequent"] = [section.figures[name]["most_frequent"] for name in names]
    notes = protocols({f"{n}/{w}": f for n in names for w, f in section.figures[n].items()})
    if used < codebooks:
        notes = [*notes, f"of {used} of {codebooks} codebooks, the first"]
    titles = ["Read from", *(readable(name).capitalize() for name in names)]
    section.blocks["table"] = Table(titles, rows, notes=notes)
    if len(names) > 1:
        gains = {name: _gain(section.figures[name]) for name in names}
        best, *others = sorted(names, key=lambda name: -gains[name])
        if gains[best] < TOLD:
            section.blocks["words"] = Text("Codes tell hardly anything of these labels.")
            return
        section.blocks["words"] = Text(
            f"In their order, codes tell the {readable(best)} best: {gains[best]:.0%} of what the "
            f"most frequent leaves to be told, and "
            + ", ".join(f"{gains[name]:.0%} of the {readable(name)}" for name in others)
            + "."
        )


def _gain(figures: Mapping[str, Any]) -> float:
    """Returns the share of what the most frequent label leaves wrong that the probe puts right."""
    most, share = figures["most_frequent"]["value"], figures["order"]["value"]
    return max(0.0, (share - most) / (1 - most)) if most < 1 else 0.0
