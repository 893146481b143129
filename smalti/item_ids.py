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
from smalti.ids import CodeSpace, IdTable, check_enough_ids
from smalti.name_array import NameArray
from smalti.quantizers import Quantizer

__all__ = [
    "check_ids",
    "check_items",
    "encode_items",
    "decode_codes",
    "make_ids",
    "item_names",
    "iterate_items",
    "list_sets",
    "code_space",
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
    """Checks that a tokenizer's tokens can be IDs, with one position, and returns it.

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
        InputError: If the tokenizer cannot make IDs, the data are endless, there are more items
            than IDs, or codebooks are too large for the nearest free ID.
    """
    check_items(tokenizer)
    check_enough_ids(sum(map(len, list_sets(splits))), tokenizer.layout.sizes, collisions)


def item_names(splits: Splits) -> pa.Array:
    """Returns the names of all examples: those of training, validation and test, in order.

    They are those of the manifest; examples of synthetic data are named by split and number.
    """
    parts = list_sets(splits)
    n, manifest = sum(map(len, parts)), splits.manifest
    if manifest is not None and len(manifest) == n:
        names = manifest.names
        if isinstance(names, NameArray):
            return names.array
        if isinstance(names, pa.ChunkedArray):
            return names.combine_chunks()
        return names if isinstance(names, pa.Array) else pa.array(names, pa.string())
    named = zip(SPLITS, parts, strict=True)
    return pa.array([f"{split}/{i}" for split, part in named for i in range(len(part))])


def encode_items(tokenizer: Tokenizer, parts: Sequence[Examples]) -> np.ndarray:
    """Encodes all examples of some sets, in order: (N, Q), int32.

    Raises:
        InputError: If the tokenizer has not one position per example, or an example has no codes.
    """
    tokenizer = check_items(tokenizer)
    size = len(tokenizer.quantizer.codebook_sizes)
    found = [
        tokenizer.encode(x).reshape(len(x), size).cpu().to(torch.int32).numpy()
        for part in parts
        for x in _batches(part, device_of(tokenizer))
    ]
    return np.concatenate(found) if found else np.zeros((0, size), np.int32)


def code_space(tokenizer: Tokenizer, parts: Sequence[Examples]) -> CodeSpace:
    """Makes the `CodeSpace` of some examples: their vectors and those of codes, as quantized."""
    tokenizer = check_items(tokenizer)
    device = device_of(tokenizer)

    def vectors(rows: Tensor) -> Tensor:
        z = torch.zeros(len(rows), tokenizer.quantizer.dim)
        for chosen, x in iterate_items(parts, rows):
            z[chosen] = tokenizer.encode_vectors(x.to(device)).flatten(1).float().cpu()
        return z

    return CodeSpace(lambda codes: decode_codes(tokenizer.quantizer, codes), vectors)


def iterate_items(parts: Sequence[Examples], rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields batches of the examples with given numbers (n,), counted over some sets in order.

    Each batch has the positions among the n, and the signals (B, C, *size).
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
def decode_codes(quantizer: Quantizer, codes: Tensor) -> Tensor:
    """Decodes the first q ≤ Q codes (n, q) of IDs to vectors (n, D), on the CPU."""
    weights = (*quantizer.parameters(), *quantizer.buffers())
    codes, sizes = codes.to(weights[0].device if weights else "cpu"), quantizer.codebook_sizes
    missing = codes.new_full((len(codes), len(sizes) - codes.shape[1]), -1)
    whole = torch.cat([codes, missing], 1)
    vectors = quantizer.decode(whole if len(sizes) > 1 or quantizer.acts_on_grid else whole[:, 0])
    return vectors.flatten(1).float().cpu()


def make_ids(
    tokenizer: Tokenizer,
    splits: Splits,
    collisions: str,
    made_from: Mapping[str, str],
    given: IdTable | None = None,
) -> IdTable:
    """Makes the table with an ID for every example of a data set.

    Arguments:
        tokenizer: A tokenizer with one position per example.
        splits: The data.
        collisions: What makes IDs of items with equal codes differ: "index" adds a further code,
            "nearest" takes the nearest free codes, "none" leaves them equal.
        made_from: Checksums of the inputs of the IDs, by name.
        given: The table of earlier examples, whose IDs do not change.

    Raises:
        InputError: If the tokenizer has not one position per example, an example has no codes, two
            have one name, or collisions cannot be resolved so.
    """
    parts = list_sets(splits)
    names = item_names(splits)
    logger.info("giving %d %s an ID each", len(names), splits.signal.plural)
    own, space = encode_items(tokenizer, parts), code_space(tokenizer, parts)
    if given is not None:
        return given.extended(names, own, space=space, made_from=made_from)
    sizes = tokenizer.layout.sizes
    return IdTable.of(names, own, sizes, collisions, space=space, made_from=made_from)


def list_sets(splits: Splits) -> list[Examples]:
    """Returns the training, validation and test examples; raises `InputError` if one is endless."""
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
