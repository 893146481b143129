"""`smalti decompress`: files out of what `smalti compress` wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from smalti.codec import Coded
from smalti.commands.common import call_with_options
from smalti.counting import counted
from smalti.errors import InputError
from smalti.files import read_bytes
from smalti.generation import Model, load
from smalti.generation.compression import codec_for, signals_of
from smalti.modalities.base import ManyPerFile, Modality, modality_of
from smalti.outputs import check_file, check_output
from smalti.spelling import readable

__all__ = ["run"]


def run(words: Sequence[str]) -> None:
    """Parses the command line and calls `decompress`."""
    call_with_options(decompress, words, "folder", "file")


def decompress(
    folder: str,
    file: str,
    *,
    out: str = "decompressed",
    only: str | None = None,
    blocks: str | None = None,
    overwrite: bool = False,
) -> None:
    """Decodes a .smt file, with the run that it was compressed with.

    Arguments:
        folder: The run directory.
        file: The .smt file.
        out: A file, where one is decoded; or a folder, for each a file of the same name.
        only: The name of a file in it that alone is decoded.
        blocks: Decode a part only, of blocks from:to, the first being 0 and the last not included.
        overwrite: Replace what smalti did not write, too.
    """
    model = load(folder)
    modality = modality_of(model.signal)
    path = check_output(out, _suffixes(modality), folder=True, overwrite=overwrite)
    content = _read(file)
    codec = codec_for(model, content)
    names = None if only is None else [only]
    found = codec.decode_all(content, names, _range(blocks))
    is_file = path.suffix.lower() in _suffixes(modality) and not path.is_dir() and out[-1] != "/"
    if is_file and len(found) != 1:
        raise InputError(
            f"{readable(file)} holds {counted(len(found), 'file')}, got --out {out}: give a "
            f"folder, or --only and the name of one."
        )
    places = [path] if is_file else _places(path, found, _suffixes(modality)[0])
    for place in places:
        check_file(place, overwrite)
    for place, each in zip(places, found, strict=True):
        _write(model, modality, signals_of(model, each), place, each.names, overwrite)
    signals = sum(len(each.levels[0]) for each in found)
    print(f"{path}: {counted(signals, model.signal.noun, model.signal.plural)}")


def _write(
    model: Model,
    modality: Modality,
    x: Tensor,
    place: Path,
    names: Sequence[str] | None,
    overwrite: bool,
) -> None:
    """Writes the signals (N, C, *size) of a file."""
    if isinstance(modality, ManyPerFile):
        modality.write_all(x, place, names, overwrite, model.signal)
        return
    if len(x) != 1:
        raise InputError(
            f"A file holds one {model.signal.noun}, got {len(x)}: decompress in Python, where "
            f"they were compressed."
        )
    modality.write(x[0], place, overwrite, model.signal)


def _suffixes(modality: Modality) -> tuple[str, ...]:
    """Returns the suffixes of the files that are written."""
    return modality.written_together if isinstance(modality, ManyPerFile) else modality.suffixes


def _places(folder: Path, found: Sequence[Coded], suffix: str) -> list[Path]:
    """Returns the file in a folder for each, all different even without upper and lower case."""
    stems = [Path(each.name).stem for each in found]
    if len({stem.casefold() for stem in stems}) < len(stems):
        stems = [f"{n:05d}-{stem[:50]}" for n, stem in enumerate(stems)]
    return [folder / f"{stem}{suffix}" for stem in stems]


def _read(file: str) -> bytes:
    try:
        return read_bytes(file)
    except FileNotFoundError as error:
        raise InputError(
            f"There is no file {readable(file)}: give what smalti compress wrote."
        ) from error


def _range(blocks: str | None) -> tuple[int, int] | None:
    """Parses "2:5" to (2, 5)."""
    if blocks is None:
        return None
    found = re.fullmatch(r"(\d{1,9}):(\d{1,9})", blocks, re.ASCII)
    if found is None:
        raise InputError(f"Blocks are from:to, such as 2:5, got {blocks!r:.40}: give two numbers.")
    return int(found[1]), int(found[2])
