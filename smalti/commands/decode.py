"""`smalti decode`: token indices, latents or IDs to signals."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from smalti.autoencoders import Tokenizer
from smalti.commands.common import call_with_options
from smalti.commands.ids import MEND, read_ids_of_run
from smalti.commands.signal_output import SignalOutput
from smalti.errors import InputError
from smalti.generation import Model, load
from smalti.ids import IdTable, holds_ids
from smalti.item_ids import why_no_items
from smalti.latents import read_latents
from smalti.name_array import NameArray
from smalti.quantizers.first_codebooks import check_codebooks
from smalti.spelling import readable
from smalti.tokens import read_tokens

__all__ = ["run"]

logger = logging.getLogger(__name__)


def run(words: Sequence[str]) -> None:
    """Parses the command line and calls `decode`."""
    call_with_options(decode, words, "folder", "tokens")


def decode(
    folder: str,
    tokens: str,
    *,
    out: str | None = None,
    columns: int | None = None,
    any_size: bool = False,
    overwrite: bool = False,
) -> None:
    """Turns token indices or IDs, or the latents of a continuous model, into signals.

    Arguments:
        folder: The run directory.
        tokens: A .npz or .parquet file with `indices` (N, *grid), or a .npz with `latents` (N, D).
            Of a hierarchy with `indices_1` … of the finer levels, as many as are to be used; of
            several codebooks the first ones are enough. Or an ids.parquet of the run: its items in
            order, in a table under their names.
        out: A .png for one picture of all (decoded.png if not given), or a folder for a file each;
            of sounds also a .wav or .flac of all, one after another.
        columns: Signals per row in the picture.
        any_size: Take grids of any size, as smalti encode --any_size gives them.
        overwrite: Replace what smalti did not write, too.
    """
    model = load(folder)

    def place(count: int) -> SignalOutput:
        return SignalOutput(
            model.signal, out, count, default_name="decoded", columns=columns, overwrite=overwrite
        )

    if model.layout is None:
        z = read_latents(tokens)
        output = place(len(z))
        output.write(model.decode(z))
        return
    levels, names = _grids(model, tokens)
    grids = tuple(tuple(grid.shape[1:]) for grid in levels)
    if not any_size and grids != model.layout.shapes[: len(grids)] and not _fewer(model, grids):
        held, wanted = (", ".join(map(str, shapes)) for shapes in (grids, model.layout.shapes))
        raise InputError(
            f"{tokens} holds grids {held}, this model's are {wanted}: use the run that they were "
            f"made with, or --any_size where signals had another size."
        )
    output = place(len(levels[0]))
    x = model.decode(levels if model.layout.levels > 1 else levels[0])
    output.write(x, names=names)


def _grids(model: Model, path: str) -> tuple[tuple[Tensor, ...], Sequence[str] | None]:
    """Returns the indices (N, *grid) of each level in a file; of IDs the names of the items, too.

    Raises:
        InputError: If there are none, or they are IDs of another run, or the model is of no run.
    """
    if not holds_ids(path):
        return read_tokens(path).levels, None
    if model.run is None:
        raise InputError(
            f"IDs are decoded by the run that made them, got the IDs {readable(path)} and a model "
            f"without a run: give the run."
        )
    table = read_ids_of_run(model.run, path)
    return (_codes(model, table, path),), NameArray(table.item_ids)


def _fewer(model: Model, grids: tuple[tuple[int, ...], ...]) -> bool:
    """Returns whether grids are those of the model with the first of its codebooks alone.

    Raises:
        InputError: If they are, and its codebooks do not refine each other.
    """
    assert isinstance(model.autoencoder, Tokenizer) and model.layout is not None
    wanted, sizes = model.layout.shapes[0], model.layout.codebook_sizes[0]
    if len(grids) > 1 or len(sizes) == 1 or len(grids[0]) != len(wanted):
        return False
    if grids[0][:-1] != wanted[:-1] or not 1 <= grids[0][-1] < len(sizes):
        return False
    check_codebooks(model.autoencoder.levels, grids[0][-1])
    return True


def _codes(model: Model, table: IdTable, path: str) -> Tensor:
    """Returns the codes of IDs as the indices (N, *grid) that the model decodes.

    Raises:
        InputError: If they are not of the model's codebooks.
    """
    assert isinstance(model.autoencoder, Tokenizer)
    layout, why = model.autoencoder.layout, why_no_items(model.autoencoder)
    if why or table.own_sizes != layout.sizes:
        held, wanted = ("×".join(map(str, sizes)) for sizes in (table.own_sizes, layout.sizes))
        raise InputError(
            f"{readable(path)} holds IDs of {held} codes, but "
            f"{why or f'this run makes those of {wanted}'}: {MEND}"
        )
    if table.collisions == "index":
        logger.info(
            "The last code of each ID only numbers the items that share the others: it is left out."
        )
    return torch.from_numpy(table.decodable).reshape(len(table), *layout.shapes[0])
