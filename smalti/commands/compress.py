"""`smalti compress`: files to one small file, coded under the run's prior."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from smalti.codec import Codec, Coded
from smalti.codec.container import is_name
from smalti.commands.common import expand_files, read_batches
from smalti.commands.run_options import call_with_conditions
from smalti.counting import counted
from smalti.generation import Model, load
from smalti.generation.compression import codec_of, conditioned, tokens_of
from smalti.modalities.base import ManyPerFile, modality_of
from smalti.outputs import check_output, write_file
from smalti.spelling import as_text

__all__ = ["run"]


def run(words: Sequence[str]) -> None:
    """Parses the command line and calls `compress`; each condition of the run is an option."""
    call_with_conditions(compress, words, "folder", "files")


def compress(  # noqa: PLR0913 - the options of the command
    folder: str,
    files: list[str],
    *,
    out: str = "compressed.smt",
    prior: str = "learned",
    codebooks: int | None = None,
    convert: bool = False,
    any_size: bool = False,
    overwrite: bool = False,
    **conditions: str | None,
) -> None:
    """Codes files to one small file, an archive of which each can be decoded alone.

    Their tokens are coded under the run's prior, so that they take about as many bits as it says
    that they are worth. A run has an option for each of its conditions, which holds for all files:
    smalti compress RUN --help lists them. A label that is not given is found for each file, the one
    under which it is smallest.

    Arguments:
        folder: The run directory.
        files: Files of the kind that the run was learned from, folders of them, or patterns.
        out: The .smt file that is written.
        prior: learned; unigram, how often each index comes in training; or uniform.
        codebooks: How many of several codebooks are used, from the first on, for fewer bits; all
            if not given. A learned prior is over all.
        convert: Make files fit the model, though they lose by it (its size, say).
        any_size: Take files at their own size, as convolutional tokenizers can.
        overwrite: Replace what smalti did not write, too.
    """
    path = check_output(out, (".smt",), overwrite=overwrite)
    model = load(folder)
    codec = codec_of(model, prior, codebooks)
    asked = {name: text for name, text in conditions.items() if text is not None} or None
    files = expand_files(model.signal, files)
    coded = list(_coded(model, codec, files, asked, convert, any_size, codebooks))
    content = codec.encode_all(coded)
    write_file(content, path, overwrite)
    print(f"{path}: {_summary(model, codec, coded, len(content))}")


def _coded(  # noqa: PLR0913 - the options of the command
    model: Model,
    codec: Codec,
    files: Sequence[str],
    asked: Mapping[str, str] | None,
    convert: bool,
    any_size: bool,
    codebooks: int | None,
) -> Iterator[Coded]:
    """Yields the tokens of each file, and what they are coded under."""
    names = _names(files)
    if isinstance(modality_of(model.signal), ManyPerFile):
        for name, file in zip(names, files, strict=True):
            batches = list(read_batches(model, [file], convert))
            parts = [tokens_of(model, batch.x, any_size, codebooks) for batch in batches]
            levels = tuple(torch.cat(level) for level in zip(*parts, strict=True))
            known = [each for batch in batches for each in batch.names]
            numbered = all(batch.numbered for batch in batches)
            made = Coded(levels, name, names=None if numbered else known)
            yield conditioned(codec, made, asked)
        return
    left = iter(names)
    for batch in read_batches(model, files, convert, any_size):
        size = tuple(batch.x.shape[2:])
        other = None if size == tuple(model.signal.size) else size
        levels = tokens_of(model, batch.x, any_size, codebooks)
        whole = conditioned(codec, Coded(levels, size=other), asked)
        for n in range(len(batch.x)):
            context = whole.context
            yield whole._replace(
                levels=tuple(level[n : n + 1] for level in whole.levels),
                name=next(left),
                context=context if context is None or len(context) == 1 else context[n : n + 1],
            )


def _names(files: Sequence[str]) -> list[str]:
    """Returns a name for each file, all different even without upper and lower case."""
    names = [as_text(Path(file).name) for file in files]
    alike = len({name.casefold() for name in names}) < len(names)
    return [
        name if is_name(name) and not alike else f"{n:05d}{Path(name).suffix[:10]}"
        for n, name in enumerate(names)
    ]


def _summary(model: Model, codec: Codec, coded: Sequence[Coded], size: int) -> str:
    """Says how small the files have become."""
    signals = sum(len(file.levels[0]) for file in coded)
    what = counted(signals, model.signal.noun, model.signal.plural)
    nominal = codec.nominal_bits(coded)
    return (
        f"{what} in {size:,} bytes under the prior {codec.model.name}; of equally likely indices "
        f"the tokens alone are {-(-round(nominal) // 8):,}"
    )
