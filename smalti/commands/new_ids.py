"""`smalti encode --against`: gives new items IDs, beside the unchanged IDs of earlier items."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from smalti.autoencoders import DiscreteAutoencoder, Tokenizer
from smalti.commands.ids import read_ids_of_run, summarise_ids
from smalti.counting import counted
from smalti.errors import InputError
from smalti.generation import Model
from smalti.ids import CodeSpace, IdTable
from smalti.item_ids import check_items, decode_codes
from smalti.modalities.base import NamedSignals
from smalti.name_array import NameArray
from smalti.spelling import readable

__all__ = ["extend_ids", "other_beam", "read_earlier_ids"]

logger = logging.getLogger(__name__)


def read_earlier_ids(model: Model, against: str) -> IdTable:
    """Reads the table with the IDs of earlier items, to which new items are added.

    Arguments:
        model: The model that encodes the new items.
        against: Path of the file of IDs, as `--against` gives it.

    Raises:
        InputError: If the IDs were made by another tokenizer, or the model's tokenizer cannot make
            IDs.
    """
    if not isinstance(model.autoencoder, Tokenizer) or model.run is None:
        raise InputError(
            "IDs are made by the tokenizer of a run, got a model without one: leave --against out."
        )
    check_items(model.autoencoder)
    return read_ids_of_run(model.run, against)


def other_beam(table: IdTable, own: int | None, beam: int | None, against: str) -> int | None:
    """Returns the beam that new items are searched with, if it is not the tokenizer's own.

    Warns, in one line, where it is also not that of any earlier item: IDs that are given do not
    change, so a copy of an earlier item may get other codes than it has.

    Arguments:
        table: The IDs of the earlier items.
        own: The beam of the tokenizer, as it was saved.
        beam: The beam that is asked for, if one is.
        against: Path of the file of IDs, for the message.
    """
    if beam is None or beam == own:
        return None
    if beam not in table.beams:
        logger.warning(
            "The codes in %s were searched with a beam of %s, those of new items are with one of "
            "%d: copies of earlier items may get other codes. Leave --beam out for the same.",
            readable(against),
            " and ".join(map(str, sorted({own or 1, *table.beams}))),
            beam,
        )
    return beam


def extend_ids(
    model: Model,
    table: IdTable,
    batches: Iterator[tuple[NamedSignals, Tensor]],
    path: Path,
    beam: int | None = None,
) -> str:
    """Gives new items IDs, and writes a table of the earlier items and the new ones.

    Arguments:
        model: A model whose tokenizer makes IDs.
        table: The IDs of the earlier items, which do not change.
        batches: The new items, each batch with its codes.
        path: The .parquet file to write, which may be that of the table.
        beam: What the codes were searched with, if it is not the tokenizer's own.

    Returns:
        A line for the user that says what was written.

    Raises:
        InputError: If an item has no name, or comes twice.
    """
    tokenizer = check_items(model.autoencoder)  # type: ignore[arg-type]
    found: list[Sequence[str]] = []
    codes: list[np.ndarray] = []
    keeps = table.collisions == "nearest"  # which looks at the vectors of some again
    with tempfile.TemporaryFile() as file:
        for batch, latents in batches:
            if batch.numbered:
                raise InputError(
                    f"Items that come later have names of their own, got rows that are only "
                    f"numbered ({readable(batch.names[0])}, …): give a table with a column of ids, "
                    f"called as in the run's data (data.id), or item_id."
                )
            found.append(batch.names)
            codes.append(latents.reshape(len(latents), -1).cpu().numpy())
            if keeps:
                z = tokenizer.encode_vectors(batch.x.to(model.device)).flatten(1)
                file.write(z.float().cpu().numpy().tobytes())
        names = NameArray.joined(found)
        space = _space(tokenizer, file, len(names)) if keeps else None
        made = table.extended(names.array, np.concatenate(codes), space=space, beam=beam)
    made.write(path, overwrite=True)  # the path was checked before anything was encoded
    new = len(made) - len(table)
    there = len(names) - new
    kept = f"; {counted(there, 'item')} had an ID already, which stays" if there else ""
    return f"{path}: {summarise_ids(made)}; {counted(new, 'item is', 'items are')} new{kept}"


def _space(tokenizer: DiscreteAutoencoder, file: IO[bytes], n: int) -> CodeSpace:
    """Returns where codes lie, and items, whose vectors stand in a file one after another."""
    file.flush()
    stored = np.memmap(file, np.float32, "r", shape=(n, tokenizer.quantizer.dim))

    def vectors(rows: Tensor) -> Tensor:
        return torch.from_numpy(np.array(stored[rows.numpy()]))

    return CodeSpace(lambda codes: decode_codes(tokenizer.quantizer, codes), vectors)
