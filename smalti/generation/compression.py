"""Signals to bytes and back: a model's tokens, coded under its prior.

    compress      x → tokenizer → tokens → range coder → bytes
    decompress    bytes → range coder → tokens → decoder → x̂

The range coder needs the extra `codec`; so this is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from smalti.autoencoders import Tokenizer
from smalti.autoencoders.inputs import with_size
from smalti.codec import Codec, Coded, LearnedModel, SymbolModel, UniformModel, UnigramModel
from smalti.codec.container import read
from smalti.codec.digest import digest
from smalti.codec.range_coder import Damaged
from smalti.conditions import Condition, Label, conditions_by_name
from smalti.errors import InputError
from smalti.generation.checks import signal_pieces
from smalti.generation.sampling_request import Words, condition_values
from smalti.layout import Layout
from smalti.quantizers.first_codebooks import check_codebooks

if TYPE_CHECKING:
    from smalti.generation.model import Model

__all__ = [
    "CODERS",
    "codec_for",
    "codec_of",
    "compress",
    "conditioned",
    "decompress",
    "signals_of",
    "tokens_of",
]

CODERS = ("learned", "unigram", "uniform")
LONGEST = 64  # places along an axis of a piece, where a model has no grid of its own


def codec_of(model: Model, prior: str = "learned", codebooks: int | None = None) -> Codec:
    """Makes the codec of a model.

    Arguments:
        model: The model, of tokens.
        prior: What tokens are coded under: "learned", "unigram" or "uniform".
        codebooks: How many of Q codebooks are coded, from the first on; all if not given.

    Raises:
        InputError: If there is no such prior, it cannot code, or there are not so many codebooks.
    """
    tokenizer = model.autoencoder
    if not isinstance(tokenizer, Tokenizer):
        raise InputError(
            f"Bytes are made of tokens, and a {type(tokenizer).__name__} has none: compress with a "
            f"run that has a tokenizer."
        )
    layout, rate = tokenizer.layout, getattr(model.signal, "rate", None)
    if codebooks is not None:
        kept = check_codebooks(tokenizer.levels, codebooks)
        if prior == "learned" and kept < len(layout.sizes):
            raise InputError(
                f"The prior is over all {len(layout.sizes)} codebooks, got --codebooks {kept}: "
                f"code with --prior unigram, or fit a prior over the first ones (--stages)."
            )
        layout = Layout(layout.grids, (layout.codebook_sizes[0][:kept],))
    return Codec(_symbols(model, prior, layout), layout, digest(tokenizer), rate)


def codec_for(model: Model, content: bytes) -> Codec:
    """Makes the codec by which a file was coded; any for what is none, which says what is wrong.

    Raises:
        InputError: See `codec_of`.
    """
    try:
        found = read(content)
    except Damaged:
        return codec_of(model, "uniform")
    prior = {each.code: each.name for each in (UnigramModel, LearnedModel)}.get(found.coder)
    own = () if model.layout is None else model.layout.codebook_sizes
    kept = len(found.codebook_sizes[0]) if len(own) == len(found.codebook_sizes) == 1 else 0
    fewer = 0 < kept < len(own[0]) and found.codebook_sizes[0] == own[0][:kept] if own else False
    first = kept if fewer and prior != "learned" else None
    return codec_of(model, prior or "uniform", first)


def conditioned(codec: Codec, file: Coded, words: Words | Mapping[str, Words] | None) -> Coded:
    """Returns a file with the values of the condition that its signals are coded under.

    What is not given is left out, where the prior has learned without it, too. A label that must be
    given is found: it is the one under which the tokens of a signal take the fewest bits.

    Arguments:
        codec: The codec.
        file: The file, without a context.
        words: What its signals show, one for all or one each; by name where there are several.

    Raises:
        InputError: If there is no such condition or value, or one is missing that must be given.
    """
    condition, n = codec.model.condition, len(file.levels[0])
    if condition is None and words is not None:
        raise InputError(
            f"The prior {codec.model.name!r} takes no condition here, got {words!r:.80}: leave it "
            f"out."
        )
    if condition is None:
        return file
    parts = conditions_by_name(condition)
    if len(parts) == 1 and words is not None and not isinstance(words, Mapping):
        words = {next(iter(parts)): words}
    if words is not None and not isinstance(words, Mapping):
        return file._replace(context=_parsed(condition, words, n))
    words = dict(words or {})
    missing = {name: part for name, part in parts.items() if name not in words}
    words |= {name: "none" for name, part in missing.items() if part.optional}
    searched = {name: part for name, part in missing.items() if not part.optional}
    for name, part in searched.items():
        if not isinstance(part, Label) or len(searched) > 1:
            raise InputError(
                f"The prior is conditioned on a {name}, got none: give it (--{name}), or code with "
                f"--prior unigram."
            )
    if not searched or not n:
        words |= {name: part.format(0) for name, part in searched.items()}
        return file._replace(context=_parsed(condition, words, n))
    ((name, label),) = searched.items()
    assert isinstance(label, Label)
    tried = [
        _parsed(condition, {**words, name: label.format(value)}, n) for value in range(label.dim)
    ]
    costs = torch.stack([codec.bits(file._replace(context=each)) for each in tried])
    best = costs.argmin(0)
    rows = [tried[int(value)][m % len(tried[int(value)])] for m, value in enumerate(best)]
    return file._replace(context=torch.stack(rows))


def _parsed(condition: Condition, words: Words | Mapping[str, Words], n: int) -> Tensor:
    """Parses words to values for n signals, (n, *shape), or for all, (1, *shape)."""
    each = list(words.values()) if isinstance(words, Mapping) else [words]
    alone = all(isinstance(word, str | int) for word in each)
    values = condition_values(condition, words, 1 if alone else n, torch.Generator())
    assert values is not None
    return values


def tokens_of(
    model: Model, x: Any, any_size: bool = False, codebooks: int | None = None
) -> tuple[Tensor, ...]:
    """Encodes signals to the indices of each level, as a codec of so many codebooks takes them."""
    latents = model.encode(x, any_size, codebooks=codebooks)
    if isinstance(latents, tuple):
        return latents
    return (latents[..., 0] if codebooks == 1 else latents,)


def signals_of(model: Model, file: Coded) -> Tensor:
    """Decodes the tokens of a file, or of some of its blocks, to signals (N, C, *size).

    Raises:
        InputError: If its size is not that of its tokens.
    """
    levels: Any = file.levels if len(file.levels) > 1 else file.levels[0]
    assert model.layout is not None
    depth = len(model.layout.codebook_sizes[0]) > 1
    if isinstance(levels, Tensor) and depth and levels.ndim == 1 + len(model.layout.grids[0]):
        levels = levels[..., None]  # of the first codebook alone
    if file.size is None:
        return model.decode(levels)
    step = model.autoencoder.downsampling
    length = min(file.size[0] - file.start * step, file.levels[0].shape[1] * step)
    return model.decode(levels, (length, *file.size[1:]))


def compress(  # noqa: PLR0913 - what `Model.compress` takes
    model: Model,
    x: Any,
    condition: Words | Mapping[str, Words] | None,
    prior: str,
    any_size: bool,
    codebooks: int | None,
) -> bytes:
    """Compresses signals to bytes; see `Model.compress`."""
    codec, size = codec_of(model, prior, codebooks), None
    if any_size:
        x = torch.cat(list(signal_pieces(x, with_size(model.signal, ()), model.run)))
        size = None if x.shape[2:] == tuple(model.signal.size) else tuple(x.shape[2:])
    file = Coded(tokens_of(model, x, any_size, codebooks), size=size)
    return codec.encode_all([conditioned(codec, file, condition)])


def decompress(model: Model, content: bytes, name: str | None) -> Tensor:
    """Decompresses the signals of a file in bytes; see `Model.decompress`."""
    if not isinstance(content, bytes | bytearray | memoryview):
        raise InputError(
            f"What is decompressed are bytes, got a {type(content).__name__}: give what compress "
            f"gave."
        )
    codec = codec_for(model, bytes(content))
    names = [entry.name for entry in codec.open(bytes(content)).entries]
    if name is None and len(names) != 1:
        raise InputError(
            f"This archive holds {len(names)} files ({', '.join(names[:8])}): give the name of one."
        )
    (file,) = codec.decode_all(bytes(content), None if name is None else [name])
    return signals_of(model, file)


def _symbols(model: Model, prior: str, layout: Layout) -> SymbolModel:
    if prior not in CODERS:
        raise InputError(
            f"Tokens are coded under {', '.join(CODERS[:-1])} or {CODERS[-1]}, got {prior!r}: "
            f"choose one of them."
        )
    if prior == "learned":
        return LearnedModel(model.prior_named("learned"))
    layout = _of_pieces(layout, model.signal.spatial_dims)
    if prior == "uniform":
        return UniformModel(layout)
    if model.run is None:
        raise InputError(
            "The unigram is counted in a run's training tokens: load the model from its run, or "
            "code with prior 'uniform'."
        )
    if not model.run.tokens.is_dir():
        raise InputError(
            f"The unigram is counted in a run's training tokens, and {model.run.folder} keeps "
            f"none: code with prior 'uniform', or fit a prior."
        )
    from smalti.generation import measuring

    levels = measuring.training_tokens(model.run)
    assert model.layout is not None
    deep = zip(levels, model.layout.codebook_sizes, strict=True)
    rows = [level.reshape(-1, len(sizes)) for level, sizes in deep]
    return UnigramModel(layout, _counts(rows, layout))


def _of_pieces(layout: Layout, axes: int) -> Layout:
    """Returns the layout of a piece, also where signals have no size of their own."""
    several = len(layout.codebook_sizes[0]) > 1
    if layout.grids != ((),) or several or not axes:
        return layout
    return Layout(((LONGEST,) * axes,), layout.codebook_sizes)


def _counts(levels: Iterable[Tensor], layout: Layout) -> list[np.ndarray]:
    """Counts each index of each codebook in the training tokens (N, Q) of all levels."""
    counts = []
    for level, sizes in zip(levels, layout.codebook_sizes, strict=True):
        counts += [
            torch.bincount(level[:, n].long(), minlength=size).numpy()
            for n, size in enumerate(sizes)
        ]
    return counts
