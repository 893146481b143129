"""The first indices of each position: what a model says at a lower rate.

Of Q codebooks of which each refines what those before it say, the first n are a coarser description
of a vector. They decode as all of them do, so that one model serves Q rates; one that was trained
with dropout of depth serves them best.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from smalti.arguments import as_whole_number
from smalti.counting import counted
from smalti.errors import InputError
from smalti.quantizers.quantizer import Quantizer

__all__ = ["check_codebooks", "first_codebooks"]


def first_codebooks(indices: Tensor, codebooks: int | None) -> Tensor:
    """Keeps the first of several indices of each position: (..., Q) → (..., codebooks).

    Example:
        >>> import torch
        >>> first_codebooks(torch.tensor([[[3, 1, 4], [1, 5, 9]]]), 2).tolist()
        [[[3, 1], [1, 5]]]
    """
    return indices if codebooks is None else indices[..., :codebooks]


def check_codebooks(quantizers: tuple[Quantizer, ...], codebooks: Any) -> int:
    """Returns how many codebooks are to be used, from the first on.

    Arguments:
        quantizers: Those of each level of a tokenizer; none of a model without tokens.
        codebooks: What a user gives.

    Raises:
        InputError: If the model has not so many, or the first ones do not stand by themselves.
    """
    if len(quantizers) != 1 or len(quantizers[0].codebook_sizes) == 1:
        has = "one codebook" if len(quantizers) == 1 else counted(len(quantizers), "level")
        has = has if quantizers else "no tokens"
        mend = "choose levels" if len(quantizers) > 1 else "leave it out"
        raise InputError(
            f"The first of several codebooks are chosen where a position has several, got "
            f"{codebooks!r} of a model with {has}: {mend}."
        )
    (quantizer,) = quantizers
    name = type(quantizer).__name__
    if quantizer.acts_on_grid or not quantizer.codes_refine:
        raise InputError(
            f"The codebooks of this {name} each say something of their own, got {codebooks!r} of "
            f"them: leave it out, or train a ResidualQuantizer, or a ProductQuantizer with dropout."
        )
    return as_whole_number(codebooks, "codebooks", 1, len(quantizer.codebook_sizes))
