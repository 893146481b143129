"""Edits a signal through its tokens: inpainting, variations, and swaps with another signal.

Some tokens are drawn anew or taken from another signal; all others are kept. A mask over the
signal, a strength, or both say which:

    mask             inpainting: every token whose patch holds a marked value is drawn anew. The
                     marked part is filled smoothly before the signal is encoded, so that the kept
                     tokens hold nothing of what was there
    strength S       variation: a share S of all tokens, or of those under the mask, is drawn anew.
                     The signal is encoded as it is, because it is to be varied, not removed
    another signal   swap: the tokens under the mask come from the other signal, the rest from the
                     signal with that part of the other in it

A decoder sees more than one patch, so values next to an edit change a little, too. To keep them
as they were, paste the signal back (`smalti.generation.pasting`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from smalti.arguments import as_floats, as_tensor, as_whole_number
from smalti.autoencoders.tokenizer import Tokenizer
from smalti.errors import InputError
from smalti.generation.checks import check_batch_memory, make_generator
from smalti.generation.filling import fill_smoothly
from smalti.generation.known import known_tokens, spatial_layout, token_layout, token_mask
from smalti.generation.strength import check_strength, choose_tokens
from smalti.layout import Layout
from smalti.priors import AutoregressivePrior, LevelPriors, Prior, TokenPrior, Uniform

if TYPE_CHECKING:
    from smalti.generation.model import Model

__all__ = ["check_part", "redraw", "swap", "explain_unseen"]

logger = logging.getLogger(__name__)


def check_part(model: Model, x: Any, mask: Any) -> tuple[Tensor, Tensor | None]:
    """Returns a signal (C, *size), and a mask (*size) if there is one, on the signal's device.

    Raises:
        InputError: If x is no such signal, or the mask is not bool, has another size, or marks
            nothing.
    """
    x = as_floats(x, "The signal")
    model.signal.check(x[None])
    if mask is None:
        return x, None
    mask = as_tensor(mask, "The mask").to(x.device)
    if mask.dtype != torch.bool:
        raise InputError(f"The mask must be bool, got {mask.dtype}: True marks what is made anew.")
    if mask.shape != x.shape[1:]:
        raise InputError(
            f"The mask must have the size of the {model.signal.noun}, {tuple(x.shape[1:])}, got "
            f"{tuple(mask.shape)}: give one value for each place."
        )
    if not bool(mask.any()):
        raise InputError(
            f"The mask marks nothing of the {model.signal.noun}: mark what is to be made anew."
        )
    return x, mask


def redraw(
    model: Model,
    x: Tensor,
    mask: Tensor | None,
    condition: Any,
    n: int,
    strength: float | None,
    options: Mapping[str, Any],
) -> Tensor:
    """Draws tokens of a signal anew, and decodes them with the rest: (n, C, *size).

    Logs one line if every token is drawn anew, or if the prior does not see all kept tokens. For
    the arguments see `Model.edit`; x and mask are those that `check_part` returns.
    """
    layout, n = token_layout(model.autoencoder), as_whole_number(n, "The number of samples")
    if mask is None and strength is None:
        raise InputError(
            f"Nothing says what to edit of the {model.signal.noun}: give a mask, or a strength."
        )
    strength = 1.0 if strength is None else check_strength(strength)
    check_batch_memory(n, math.prod(x.shape), "samples")
    known = _known(model, x, mask, strength, n, options)
    if bool((known < 0).all()):
        made = model.sample(n, condition, **options)
        logger.warning(
            "Every token of the %s was drawn anew, so that nothing of it is kept: this is a plain "
            "sample.",
            model.signal.noun,
        )
        return made
    made = model.sample(n, condition, known=known, **options)
    name = options.get("prior", "learned")
    # A histogram draws whole grids that agree with all that is kept.
    said = None if name == "histogram" else explain_unseen(model.prior_named(name), layout, known)
    if said is not None:
        logger.info(said)
    return made


def swap(model: Model, x: Tensor, mask: Tensor | None, other: Any, given: list[str]) -> Tensor:
    """Gives a signal the tokens of another under a mask, and decodes them: (1, C, *size).

    Arguments:
        model: The model.
        x: (C, *size); see `check_part`.
        mask: (*size), bool.
        other: The other signal, (C, *size).
        given: Names of further arguments that the user gave. A swap draws nothing and takes none.

    Raises:
        InputError: If there is no mask, `other` is no such signal, or `given` is not empty.
    """
    if mask is None:
        raise InputError("A swap has a mask that says which part of the other is taken: give one.")
    if given:
        raise InputError(
            f"A swap takes tokens of another {model.signal.noun} and draws none, got "
            f"{' and '.join(given)}: leave that out."
        )
    spatial_layout(model.autoencoder)
    other = as_floats(other, "The other signal").to(x)
    model.signal.check(other[None])
    taken = token_mask(model.autoencoder, mask[None])
    mixed, others = model.encode_flat(torch.stack([torch.where(mask, other, x), other]))
    return model.decode(model.unpack(torch.where(taken.to(mixed.device), others, mixed)))


def explain_unseen(prior: Prior, layout: Layout, known: Tensor) -> str | None:
    """Returns a line that says which kept tokens a prior does not see; None if it sees them all.

    Arguments:
        prior: The prior.
        layout: The layout of the tokens.
        known: (n, *shape), the kept tokens, and -1 where a token is drawn; both occur.
    """
    counts = (known < 0).flatten(1).sum(1)
    count = int(counts.max())
    drawn = f"{count} of {layout.positions} tokens were drawn anew"
    name = type(prior).__name__
    if isinstance(prior, Uniform):
        return f"A {name} prior sees nothing of what is kept: {drawn}, each by chance alone."
    if isinstance(prior, LevelPriors):
        if all(isinstance(level, Uniform) for level in prior.levels):
            return explain_unseen(prior.levels[0], layout, known)
        return _unseen_by_levels(prior, known, drawn)
    if not _behind(prior, known):
        return None
    return (
        f"A {name} cannot look ahead: {drawn} in its order, each seeing what comes before it; "
        f"MaskedPrior and AbsorbingDiffusion see all sides."
    )


def _unseen_by_levels(prior: LevelPriors, known: Tensor, drawn: str) -> str | None:
    """Returns the line of `explain_unseen` for the levels of a cascade, of known rows (n, L)."""
    grids = prior.layout.unpack(known)
    pairs = zip(prior.levels, grids, strict=True)
    behind = sorted({type(level).__name__ for level, grid in pairs if _behind(level, grid)})
    finer = any(
        bool((grid < 0).any()) and any(bool((fine >= 0).any()) for fine in grids[level + 1 :])
        for level, grid in enumerate(grids)
    )
    if not behind and not finer:
        return None
    unseen = ["what is kept of finer levels"] * finer
    unseen += [f"what comes behind a token (a {' or '.join(behind)} cannot look ahead)"] * bool(
        behind
    )
    return f"Levels are drawn coarse to fine: {drawn} without seeing {' and '.join(unseen)}."


def _behind(prior: TokenPrior | Prior, known: Tensor) -> bool:
    """Returns whether any kept token comes after a drawn one in the order of a prior."""
    if not isinstance(prior, AutoregressivePrior):
        return False
    missing = (known.flatten(1) < 0)[:, prior.order.to(known.device)]
    return bool((missing.cummax(1).values & ~missing).any())


def _known(
    model: Model,
    x: Tensor,
    mask: Tensor | None,
    strength: float,
    n: int,
    options: Mapping[str, Any],
) -> Tensor:
    """Returns the tokens to keep, (1, *shape) for all variants or (n, *shape), -1 elsewhere."""
    if strength == 1:
        if mask is None or bool(mask.all()):
            assert model.layout is not None
            return torch.full((1, *model.layout.shape), -1)
        return known_tokens(model.autoencoder, fill_smoothly(x, mask)[None], ~mask[None])
    tokens = model.encode_flat(x[None])
    if mask is None:
        layout, allowed = _layout_of_codes(model), torch.ones(tokens[0].numel(), dtype=torch.bool)
    else:
        layout = spatial_layout(model.autoencoder)
        allowed = token_mask(model.autoencoder, mask[None])[0].flatten().cpu()
    generator = make_generator(n, options.get("seed"))
    chosen = choose_tokens(layout, allowed, strength, n, generator)
    return torch.where(chosen.view(n, *tokens.shape[1:]).to(tokens.device), -1, tokens)


def _layout_of_codes(model: Model) -> Layout:
    """Returns the layout in which tokens are chosen.

    Where there is one position only, its codes are chosen one by one. Codes that refine others
    count as finer levels and come first.
    """
    try:
        return spatial_layout(model.autoencoder)
    except InputError:
        layout = token_layout(model.autoencoder)
    assert isinstance(model.autoencoder, Tokenizer)
    if layout.levels > 1 or math.prod(layout.grids[0]) > 1:
        return layout
    (sizes,) = layout.codebook_sizes
    if not model.autoencoder.levels[0].codes_refine:
        return Layout(((),), (sizes,))
    return Layout(((1,),) * len(sizes), tuple((size,) for size in sizes))
