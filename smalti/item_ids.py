"""IDs of the items of a data set: what a tokenizer makes of each, and collisions resolved.

An example becomes an item where its tokens are one position: a row of Q codes. Distances between
codes, for the nearest free ID, are those of the vectors that the quantizer takes and gives.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from smalti.autoencoders import DiscreteAutoencoder, Tokenizer
from smalti.autoencoders.inputs import device_of
from smalti.data import Examples, Splits
from smalti.data.manifest import SPLITS
from smalti.errors import InputError
from smalti.ids import CodeSpace, IdTable, check_room
from smalti.quantizers import Quantizer

__all__ = [
    "check_ids",
    "check_items",
    "codes_of",
    "decoded",
    "ids_of",
    "item_names",
    "items_at",
    "sets_of",
    "space_of",
    "why_no_items",
]

logger = logging.getLogger(__name__)

NUMBERS = 1 << 20  # of the signals that are encoded at a time


def why_no_items(tokenizer: Tokenizer) -> str | None:
    """Returns why the tokens of a tokenizer are no IDs, in words; `None` if they are."""
    layout = tokenizer.layout
    if layout.levels == 1 and layout.positions == len(layout.sizes):
        return None
    shapes = " and ".join("×".join(map(str, shape)) for shape in layout.shapes)
    return f"an ID is a row of codes, got {shapes} tokens per {tokenizer.signal.noun}"


def check_items(tokenizer: Tokenizer) -> DiscreteAutoencoder:
    """Returns the tokenizer itself, after checking that its tokens can be IDs.

    Raises:
        InputError: If its tokens lie in a grid, or in several.
    """
    if why := why_no_items(tokenizer):
        raise InputError(
            f"{why[:1].upper()}{why[1:]}: leave ids out of the recipe, or encode each "
            f"{tokenizer.signal.noun} to one position."
        )
    assert isinstance(tokenizer, DiscreteAutoencoder)
    return tokenizer


def check_ids(tokenizer: Tokenizer, splits: Splits, collisions: str) -> None:
    """Checks, before anything is learned, that all examples can have IDs.

    Raises:
        InputError: If the tokenizer gives none, the data have no end, there are more items than
            IDs, or codebooks are too large for the nearest free ID.
    """
    check_items(tokenizer)
    check_room(sum(map(len, sets_of(splits))), tokenizer.layout.sizes, collisions)


def item_names(splits: Splits) -> pa.Array:
    """Returns the names of all examples, text: training, validation, test.

    They are those of the manifest; what is made of numbers is named by its split and number.
    """
    parts = sets_of(splits)
    n, manifest = sum(map(len, parts)), splits.manifest
    if manifest is not None and len(manifest) == n:
        names = manifest.names
        if isinstance(names, pa.ChunkedArray):
            return names.combine_chunks()
        return names if isinstance(names, pa.Array) else pa.array(names, pa.string())
    named = zip(SPLITS, parts, strict=True)
    return pa.array([f"{split}/{i}" for split, part in named for i in range(len(part))])


def codes_of(tokenizer: Tokenizer, parts: Sequence[Examples]) -> np.ndarray:
    """Encodes all examples of some sets, in order: (N, Q), int32.

    Raises:
        InputError: As of `check_items`, or if an example has no codes.
    """
    tokenizer = check_items(tokenizer)
    size = len(tokenizer.quantizer.codebook_sizes)
    found = [
        tokenizer.encode(x).reshape(len(x), size).cpu().to(torch.int32).numpy()
        for part in parts
        for x in _batches(part, device_of(tokenizer))
    ]
    return np.concatenate(found) if found else np.zeros((0, size), np.int32)


def space_of(tokenizer: Tokenizer, parts: Sequence[Examples]) -> CodeSpace:
    """Returns the vectors of the examples of some sets, and of codes, in the quantizer's space."""
    tokenizer = check_items(tokenizer)
    device = device_of(tokenizer)

    def vectors(rows: Tensor) -> Tensor:
        z = torch.zeros(len(rows), tokenizer.quantizer.dim)
        for chosen, x in items_at(parts, rows):
            z[chosen] = tokenizer.encode_vectors(x.to(device)).flatten(1).float().cpu()
        return z

    return CodeSpace(lambda codes: decoded(tokenizer.quantizer, codes), vectors)


def items_at(parts: Sequence[Examples], rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the examples of these numbers (n,) of some sets, one set after another.

    Of each batch the places among the n, and the signals (B, C, *size).
    """
    ends = np.cumsum([len(part) for part in parts])
    of_part = np.searchsorted(ends, rows.numpy(), side="right")
    for place, part in enumerate(parts):
        mine = torch.from_numpy(np.flatnonzero(of_part == place))
        for chosen in mine.split(_at_once(part)):
            if len(chosen):
                numbers = rows[chosen] - int(ends[place] - len(part))
                yield chosen, part.__getitems__(numbers.tolist()).x


@torch.no_grad()
def decoded(quantizer: Quantizer, codes: Tensor) -> Tensor:
    """Returns the vectors (n, D), on the CPU, of the first q ≤ Q codes (n, q) of IDs."""
    weights = (*quantizer.parameters(), *quantizer.buffers())
    codes, sizes = codes.to(weights[0].device if weights else "cpu"), quantizer.codebook_sizes
    missing = codes.new_full((len(codes), len(sizes) - codes.shape[1]), -1)
    whole = torch.cat([codes, missing], 1)
    vectors = quantizer.decode(whole if len(sizes) > 1 or quantizer.acts_on_grid else whole[:, 0])
    return vectors.flatten(1).float().cpu()


def ids_of(
    tokenizer: Tokenizer,
    splits: Splits,
    collisions: str,
    made_from: Mapping[str, str],
    given: IdTable | None = None,
) -> IdTable:
    """Gives all examples of a data set an ID.

    Arguments:
        tokenizer: A tokenizer with one position per example.
        splits: The data.
        collisions: How collisions are resolved, as of `smalti.ids.resolve`.
        made_from: Checksums of what the IDs are made from, by name.
        given: IDs of earlier examples, which stay as they are.

    Raises:
        InputError: As of `codes_of` and `IdTable.of`.
    """
    parts = sets_of(splits)
    names = item_names(splits)
    logger.info("giving %d %s an ID each", len(names), splits.signal.plural)
    own, space = codes_of(tokenizer, parts), space_of(tokenizer, parts)
    if given is not None:
        return given.extended(names, own, space=space, made_from=made_from)
    sizes = tokenizer.layout.sizes
    return IdTable.of(names, own, sizes, collisions, space=space, made_from=made_from)


def sets_of(splits: Splits) -> list[Examples]:
    """Returns the three sets of a data set in order; raises `InputError` if one has no end."""
    parts = [splits.train, splits.validation, splits.test]
    if any(part.endless for part in parts):
        raise InputError(
            f"IDs are of a set of {splits.signal.plural} with an end, got endless ones: give the "
            f"data a length, or leave ids out of the recipe."
        )
    return parts


def _batches(examples: Examples, device: torch.device) -> Iterator[Tensor]:
    """Yields all examples in order, many at a time."""
    step = _at_once(examples)
    for start in range(0, len(examples), step):
        yield examples.__getitems__(range(start, min(start + step, len(examples)))).x.to(device)


def _at_once(examples: Examples) -> int:
    return max(1, NUMBERS // max(1, math.prod(examples[0].x.shape))) if len(examples) else 1
