"""`smalti encode`: files to token indices or latents, or to IDs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from smalti.commands.common import call_with_options, expand_files, read_batches
from smalti.commands.new_ids import extend_ids, other_beam, read_earlier_ids
from smalti.errors import InputError
from smalti.generation import Model, load
from smalti.latents import write_latents
from smalti.modalities.base import ManyPerFile, NamedSignals, modality_of
from smalti.name_array import NameArray
from smalti.outputs import check_output
from smalti.quantizers.beam_width import beam_of, set_beam
from smalti.spelling import readable
from smalti.tokens import TokenGrids, kept_dtype, write_tokens

__all__ = ["run"]

CHECKED = 4096  # signals of a file by which it is compared with the run's data


def run(words: Sequence[str]) -> None:
    """Parses the command line and calls `encode`."""
    call_with_options(encode, words, "folder", "files")


def encode(  # noqa: PLR0913 - the options of the command
    folder: str,
    files: list[str],
    *,
    out: str | None = None,
    against: str | None = None,
    beam: int | None = None,
    codebooks: int | None = None,
    convert: bool = False,
    any_size: bool = False,
    overwrite: bool = False,
) -> None:
    """Turns files into token indices, or with a continuous model into latents.

    Arguments:
        folder: The run directory.
        files: Files of the kind that the run was learned from, folders of them, or patterns such
            as "some/*"; those of a folder or a pattern are sorted by name. Of a table each row is
            encoded.
        out: A .npz or .parquet file with `indices` (N, *grid), in the order of the files, and
            `indices_1` … of the finer levels of a hierarchy; latents are written to a .npz, as
            `latents` (N, D). `file` (N,) has the names of the files, or of the rows of a table.
            Default: tokens.npz. With --against a .parquet file with IDs; default: new-ids.parquet.
        against: The ids.parquet of the run: it is written to --out with the items of the files
            below, and no ID that is there changes.
        beam: How many sums of codewords are kept while codes are searched: more take longer and
            come closer. By default what the tokenizer was saved with, mostly 1. The codes are of
            the same codebooks and decode as ever.
        codebooks: How many of several codebooks are used, from the first on, for fewer bits; all
            if not given.
        convert: Make files fit the model, though they lose by it (its size, say).
        any_size: Take files at their own size, as convolutional tokenizers can.
        overwrite: Replace what smalti did not write, too.
    """
    model = load(folder)
    own = beam_of(model.autoencoder)
    if beam is not None:
        set_beam(model.autoencoder, beam)
    suffixes = (".npz",) if model.layout is None else (".npz", ".parquet")
    if against is not None:
        if codebooks is not None:
            raise InputError(
                f"IDs are of all codebooks, got --codebooks {codebooks}: leave it or --against out."
            )
        path = check_output(out or "new-ids.parquet", (".parquet",), overwrite=overwrite)
        table = read_earlier_ids(model, against)
        other = other_beam(table, own, beam, against)
        found = _encoded(model, expand_files(model.signal, files), convert, any_size)
        print(extend_ids(model, table, found, path, other))
        return
    path = check_output(out or "tokens.npz", suffixes, overwrite=overwrite)
    files = expand_files(model.signal, files)
    named: list[Sequence[str]] = []
    parts: list[tuple[torch.Tensor, ...]] = []
    for batch, latents in _encoded(model, files, convert, any_size, codebooks):
        part = latents if isinstance(latents, tuple) else (latents,)
        if parts and [each.shape[1:] for each in part] != [each.shape[1:] for each in parts[0]]:
            raise InputError(
                f"One array holds grids of one shape, got {readable(named[0][0])} and "
                f"{readable(batch.names[0])} of different sizes: encode them one by one, or give "
                f"--convert in place of --any_size."
            )
        if model.layout is not None:
            part = tuple(level.to(kept_dtype(model.layout.largest)) for level in part)
        parts.append(part)
        named.append(batch.names)
    names = NameArray.joined(named)
    if isinstance(modality_of(model.signal), ManyPerFile):
        _check_different(names, model.signal.noun)
    named.clear()
    levels = tuple(torch.cat(level) for level in zip(*parts, strict=True))
    parts.clear()
    shapes = ", ".join(str(tuple(grid.shape)) for grid in levels)
    if model.layout is None:
        write_latents(path, levels[0], overwrite, names)
        print(f"{path}: latents {shapes}")
        return
    write_tokens(path, TokenGrids(levels, None, names), model.layout.largest, overwrite)
    print(f"{path}: indices {shapes}, each below {model.layout.largest}")


def _check_different(names: NameArray, noun: str) -> None:
    """Raises `InputError` where a name comes twice."""
    if len(twice := names.repeated()):
        raise InputError(
            f"The name {readable(names[twice[0]])} comes in more than one of the files: encode "
            f"them one by one, or give each {noun} a name of its own."
        )


def _encoded(
    model: Model,
    files: Sequence[str],
    convert: bool,
    any_size: bool,
    codebooks: int | None = None,
) -> Iterator[tuple[NamedSignals, Any]]:
    """Yields the signals of files, batch by batch, and what the model makes of them."""
    for number, batch in enumerate(read_batches(model, files, convert, any_size)):
        latents = model.encode(batch.x, any_size, codebooks=codebooks)
        if not number and not convert and codebooks is None:
            _check_alike(model, batch.x, latents, files[0])
        yield batch, latents


def _check_alike(model: Model, x: torch.Tensor, latents: Any, name: str) -> None:
    """Raises `InputError` where many signals in a file are not like those of the run."""
    modality = modality_of(model.signal)
    if isinstance(modality, ManyPerFile) and model.run is not None:
        part = (
            tuple(level[:CHECKED] for level in latents)
            if isinstance(latents, tuple)
            else latents[:CHECKED]
        )
        figures = model.run.figures().get("reconstruction", {})
        modality.check_alike(x[:CHECKED], model.decode(part), figures, readable(name))
