"""Usage and perplexity of codebooks, as defined in `smalti.quantizers.usage`.

Both are taken over the whole set at once. The mean over batches is another, smaller number,
because one batch has too few positions to hit every codeword.

Implicit codebooks (of bits, of levels) can have 2⁶⁰ codewords. What is kept for each codeword is
kept of those that were chosen alone where a codebook is as large as that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.evaluation.plots import plot_usage
from smalti.quantizers import count_indices, perplexity
from smalti.quantizers.quantizer import check_indices
from smalti.reporting import (
    Block,
    Card,
    Figure,
    FigureTable,
    Measurement,
    Plot,
    Section,
    SideBySide,
    figure,
)
from smalti.reporting.figures import number

__all__ = ["CodebookUsage", "codebook_figures", "codeword_counts"]

DENSE = 1 << 20  # codewords: a larger codebook has a count for each that was chosen, and no more


class CodebookUsage(Measurement[EvaluationContext]):
    """Measures how often each codeword is used: usage, perplexity and a plot of the counts."""

    key: ClassVar[str] = "codebook"
    title: ClassVar[str] = "Use of the codebook"
    chapter: ClassVar[str] = "Tokens"
    file_names: ClassVar[str] = r"codebook-\d+"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        return None if subject.tokenizer is not None else "the latents of the model are no tokens."

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        section, layout = self.section(), subject.tokens.layout
        grids = layout.unpack(subject.encoded.latents)
        used = [
            counts
            for indices, sizes in zip(grids, layout.codebook_sizes, strict=True)
            for counts in codeword_counts(indices, sizes)
        ]
        section.figures = dict(codebook_figures(used, subject.test_set, layout.sizes))
        usage = next(figure for key, figure in section.figures.items() if key.startswith("usage"))
        section.cards.append(Card(usage, "of the codewords used"))
        plots: dict[str, Block] = {}
        for place, (counts, size) in enumerate(zip(used, layout.sizes, strict=True)):
            of = f" of codebook {place}" if len(used) > 1 else ""
            with section.attempt(f"Picture of how codewords{of} are used"):
                caption = f"How often each codeword{of} was chosen in the test set."
                plots[str(place)] = Plot(plot_usage(counts, size), caption)
        section.blocks["codebook"] = SideBySide(plots, narrow=True)
        section.blocks["table"] = FigureTable(
            {
                key.replace("_", " of codebook ").capitalize(): measured
                for key, measured in section.figures.items()
            }
        )
        return section


def codeword_counts(indices: Tensor, codebook_sizes: tuple[int, ...]) -> list[Tensor]:
    """Counts how often each codeword was chosen: one tensor (K,) for each codebook.

    Of a codebook with more than 2²⁰ codewords only the used ones have a count, (used,).

    Arguments:
        indices: (N, *grid), or (N, *grid, Q) with several codebooks; -1 is not counted.
        codebook_sizes: The K of each of the Q codebooks.

    Example:
        >>> import torch
        >>> codeword_counts(torch.tensor([[0, 2], [2, -1]]), (3,))
        [tensor([1, 0, 2])]
    """
    columns = (
        [indices]
        if len(codebook_sizes) == 1
        else [indices[..., q] for q in range(len(codebook_sizes))]
    )
    return [
        count_indices(column, size) if size <= DENSE else _counts_of_used(column, size)
        for column, size in zip(columns, codebook_sizes, strict=True)
    ]


def codebook_figures(
    counts: list[Tensor], measured_on: str, codebook_sizes: Sequence[int] | None = None
) -> dict[str, Figure]:
    """Makes the figures of usage and perplexity; several codebooks are numbered.

    Arguments:
        counts: As `codeword_counts` gives them.
        measured_on: The set and its N, for the protocols.
        codebook_sizes: K of each codebook; the length of its counts if not given.
    """
    figures = {}
    sizes = codebook_sizes or [len(count) for count in counts]
    for place, (count, size) in enumerate(zip(counts, sizes, strict=True)):
        suffix = f"_{place}" if len(counts) > 1 else ""
        protocol = f"{measured_on}, all {number(int(count.sum()))} indices at once, K = {size}"
        figures[f"usage{suffix}"] = figure(
            int((count > 0).sum()) / size,
            "share",
            f"{protocol}; share of the codewords that were chosen at all",
        )
        figures[f"perplexity{suffix}"] = figure(
            perplexity(count),
            "codewords",
            f"{protocol}; exp of the entropy of how often each was chosen",
        )
    return figures


def _counts_of_used(indices: Tensor, size: int) -> Tensor:
    check_indices(indices, size)
    return indices[indices >= 0].long().unique(return_counts=True)[1]
