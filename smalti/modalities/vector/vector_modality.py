"""Vectors as a modality: reading, writing, showing, measuring and classifying them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.modalities.base import ManyPerFile, Metric, NamedSignals
from smalti.modalities.vector.category_agreement import CategoryAgreement
from smalti.modalities.vector.classifier import VectorClassifier
from smalti.modalities.vector.code_tree import CodeTree
from smalti.modalities.vector.drawing import PAIRS, SHOWN, draw_pairs, draw_rows
from smalti.modalities.vector.metrics import VectorError
from smalti.modalities.vector.neighbours import NeighbourRecall
from smalti.modalities.vector.preparation import check_prepared_alike
from smalti.modalities.vector.signal import Vector
from smalti.modalities.vector.tables import SUFFIXES
from smalti.modalities.vector.vector_files import WRITTEN, read_vectors, write_vectors
from smalti.modalities.vector.vector_map import VectorMap
from smalti.reporting.blocks import Block, Picture
from smalti.reporting.figures import Figure, number
from smalti.reporting.measurement import Measurement
from smalti.signals import Signal
from smalti.spelling import readable

__all__ = ["VectorModality"]


class VectorModality(ManyPerFile):
    """The modality of vectors (B, d) of any finite values."""

    signal: ClassVar[type[Signal]] = Vector
    suffixes: ClassVar[tuple[str, ...]] = (*WRITTEN, *(s for s in SUFFIXES if s not in WRITTEN))
    shown_as: ClassVar[str] = ".png"
    written_together: ClassVar[tuple[str, ...]] = WRITTEN
    shown: ClassVar[int] = SHOWN
    compared: ClassVar[int] = PAIRS

    def read(
        self,
        path: str | Path,
        signal: Signal,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """See `Modality.read`: of a file that holds one vector; there is nothing to convert."""
        x = torch.cat([part.x for part in read_vectors(path, signal, convert, source)])
        if len(x) != 1:
            raise InputError(
                f"One vector is wanted, got {len(x)} in {readable(path)}: give a file of one."
            )
        return x[0]

    def read_all(
        self,
        path: str | Path,
        signal: Signal,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> Iterator[NamedSignals]:
        """See `ManyPerFile.read_all`: the rows of a table, or of an array."""
        return read_vectors(path, signal, convert, source)

    def from_object(
        self, given: Any, signal: Signal, source: Mapping[str, Any] | None = None
    ) -> Tensor | None:
        """See `Modality.from_object`: no library has vectors that are neither numbers nor files."""
        return None

    def read_partial(
        self,
        path: str | Path,
        signal: Signal,
        keep: str | None = None,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `Modality.read_partial`; a vector has no parts.

        Raises:
            InputError: In any case: all codes of a vector depend on the whole of it.
        """
        self.read(path, signal, convert, source)
        part = "" if keep is None else f" {keep!r}"
        raise InputError(
            f"A vector is given whole, for all its codes depend on all of it, got a part{part} of "
            f"{readable(path)} to complete: sample without --complete."
        )

    def read_mask(
        self,
        path: str | Path,
        signal: Signal,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """See `Modality.read_mask`; a vector has no parts.

        Raises:
            InputError: In any case.
        """
        raise InputError(
            f"A vector has no parts to mark, for all its codes depend on all of it, got the mask "
            f"{readable(path)}: vary it by a strength."
        )

    def write(
        self,
        x: Tensor,
        path: str | Path,
        overwrite: bool = False,
        signal: Signal | None = None,
    ) -> None:
        """See `Modality.write`: a .parquet with one row, or an .npy of the shape (1, d)."""
        write_vectors(x[None], path, None, overwrite)

    def write_all(
        self,
        x: Tensor,
        path: str | Path,
        names: Sequence[str] | None = None,
        overwrite: bool = False,
        signal: Signal | None = None,
    ) -> None:
        """See `ManyPerFile.write_all`: a .parquet with item_id and embedding, or an .npy (n, d)."""
        write_vectors(x, path, names, overwrite)

    def check_alike(
        self, x: Tensor, x_hat: Tensor, measured: Mapping[str, Figure], name: str
    ) -> None:
        """See `ManyPerFile.check_alike`, and `smalti.modalities.vector.preparation`."""
        check_prepared_alike(x, x_hat, measured, name)

    def describe(self, signal: Signal) -> str:
        """See `Modality.describe`.

        Example:
            >>> VectorModality().describe(Vector(50)).partition(", ")[0]
            'Vectors of 50 values in 32 bits'
        """
        n = signal.channels
        return f"Vectors of {number(n)} values in 32 bits, {number(32 * n)} bits each"

    def render(
        self,
        x: Tensor,
        caption: str,
        columns: int | None = None,
        signal: Signal | None = None,
    ) -> Block:
        """See `Modality.render`: a row of colours for each vector."""
        return Picture(draw_rows(x), caption)

    def compare(
        self, x: Tensor, x_hat: Tensor, caption: str, signal: Signal | None = None
    ) -> Block:
        """See `Modality.compare`: the original above, its reconstruction below."""
        return Picture(draw_pairs(x, x_hat), caption)

    def metrics(self, signal: Signal) -> Sequence[Metric]:
        """See `Modality.metrics`."""
        return [VectorError(isinstance(signal, Vector) and signal.unit)]

    def classifier(self, signal: Signal, classes: int) -> VectorClassifier:
        """See `Modality.classifier`."""
        return VectorClassifier(signal.channels, classes)

    def measurements(self) -> Sequence[Measurement]:
        """See `Modality.measurements`."""
        return [NeighbourRecall(), CategoryAgreement(), CodeTree(), VectorMap()]
