"""The base classes and helpers of quantizers that are composed of other quantizers.

A composed quantizer has no codebook of its own: it hands vectors to others and puts their answers
together. Any quantizer may stand inside any composition, compositions included, and one object may
stand in several places: it is one codebook then, which learns from all of them, is updated once and
saved once.

Indices of the inner quantizers are concatenated along the last axis, Q in all. Whether that axis is
there follows from `codebook_sizes` alone: indices are (...) where it has one entry, else (..., Q).

Sums of quantizers, e = e_1 + … + e_Q, raise the question of what gradient their output carries.
Were each stage's own straight-through output added up, the encoder would get Q times the gradient
of one. So the sum has a single estimator of its own, y = estimator(z_e, e), in the place of those
of its stages, and under straight-through the gradient of the input is one identity.

Some quantizers have parameters that only the gradient of their output can train: the maps of a
`ProjectedQuantizer`, the logits of a `GumbelQuantizer`. In a sum such a stage gets that gradient as
if the residual it quantizes were a constant, sg(r). Its own losses then train the stage and do not
reach the encoder, which is kept near the sum by a commitment loss in its own space instead.
"""

from abc import ABC
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from smalti.errors import InputError
from smalti.quantizers.estimators import Estimator, StraightThrough, straight_through
from smalti.quantizers.quantizer import Quantized, Quantizer, leaf_quantizers

__all__ = [
    "ComposedQuantizer",
    "SummedQuantizer",
    "sum_losses",
    "unique_quantizers",
    "add_code_axis",
]

Losses = dict[str, Tensor]


class ComposedQuantizer(Quantizer, ABC):
    """Abstract: a quantizer composed of other quantizers, which hold the codebooks."""

    is_composed = True

    def update(self) -> None:
        self.reminder.silent = True
        # Each object once, however often and however deep it stands in here.
        for quantizer in leaf_quantizers(self):
            quantizer.update()

    @property
    def needs_update(self) -> bool:
        return any(q.needs_update and not q.reminder.silent for q in leaf_quantizers(self))

    def _count_for_parts(self) -> None:
        """Has this one count forward passes, as its parts may have several in one."""
        for module in self.modules():
            if isinstance(module, Quantizer) and module is not self:
                module.reminder.is_part = True


class SummedQuantizer(ComposedQuantizer, ABC):
    """Abstract: a quantizer whose codewords are sums of its stages' codewords.

    Arguments:
        stages: The quantizers whose codewords are summed; checked here.
        estimator: The gradient estimator of the sum; `StraightThrough()` if None.
    """

    def __init__(self, stages: Sequence[Quantizer], estimator: Estimator | None) -> None:
        super().__init__()
        self.estimator = StraightThrough() if estimator is None else estimator
        if self.estimator.needs_codebook:
            name = type(estimator).__name__
            raise InputError(
                f"A sum of codewords has no single codebook, which {name} needs: choose another "
                f"estimator."
            )
        for stage in stages:
            _check_estimators(stage)
            if self.estimator.of_nearest and _draws(stage):
                name = type(estimator).__name__
                raise InputError(
                    f"{name} supposes that vectors go to their nearest codewords, got a stage that "
                    f"draws them: give the stages Nearest(), or the sum another estimator."
                )

    def _quantize(self, stage: Quantizer, r: Tensor, mask: Tensor | None) -> Quantized:
        """Quantizes residuals r by one stage, with the gradient that the sum may use."""
        learns = learns_from_output(stage)
        output = stage(r.detach() if learns else r, mask)
        # Not `_replace`, and no slice: torch.compile of torch 2.7 follows neither.
        return (
            output
            if learns
            else Quantized(output.quantized.detach(), output.indices, output.losses)
        )

    def _reaches(self, stage: Quantizer) -> bool:
        """Returns whether the estimator's gradient is to reach the codewords of a stage."""
        return (
            self.training and not self.estimator.needs_commitment and not learns_from_output(stage)
        )

    def _output(self, z_e: Tensor, z_q: Tensor) -> Tensor:
        """Returns the estimator's y, plus the gradient of stages that learn from their output."""
        if self.training and not self.estimator.needs_commitment:
            return self.estimator(z_e, z_q, None)
        y = self.estimator(z_e, z_q, None) if self.training else straight_through(z_e, z_q)
        return y + (z_q - z_q.detach())


def learns_from_output(quantizer: Quantizer) -> bool:
    """Returns whether the gradient of the output trains parameters of a quantizer."""
    return any(
        isinstance(module, Quantizer) and module.learns_from_output
        for module in quantizer.modules()
    )


def _draws(quantizer: Quantizer) -> bool:
    return any(isinstance(module, Quantizer) and module.draws for module in quantizer.modules())


def add_code_axis(quantizer: Quantizer, indices: Tensor) -> Tensor:
    """Adds the axis Q to the indices of a quantizer with one index per vector: (...) → (..., 1)."""
    return indices[..., None] if len(quantizer.codebook_sizes) == 1 else indices


def remove_code_axis(quantizer: Quantizer, indices: Tensor) -> Tensor:
    """Undoes `add_code_axis`: removes the axis Q of a quantizer with one index per vector."""
    return indices[..., 0] if len(quantizer.codebook_sizes) == 1 else indices


def pad_codes(indices: Tensor, count: int) -> Tensor:
    """Pads the first q indices of vectors (..., q) with -1 to (..., Q).

    Raises:
        InputError: If they are no integers, or more than Q.
    """
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise InputError(f"Indices must be integers, got {indices.dtype}: use indices.long().")
    if indices.ndim == 0 or indices.shape[-1] > count:
        raise InputError(
            f"Indices are (..., q) with q from 0 to {count}, got the shape "
            f"{tuple(indices.shape)}: the last axis holds the indices of one vector."
        )
    missing = indices.new_full((*indices.shape[:-1], count - indices.shape[-1]), -1)
    return torch.cat([indices, missing], dim=-1).long()


def unique_quantizers(quantizers: Iterable[Quantizer]) -> tuple[nn.ModuleList, tuple[int, ...]]:
    """Returns the different quantizers of a sequence, and the index of the one at each position."""
    objects: list[Quantizer] = []
    order = []
    for quantizer in quantizers:
        place = next((i for i, known in enumerate(objects) if known is quantizer), len(objects))
        if place == len(objects):
            objects.append(quantizer)
        order.append(place)
    return nn.ModuleList(objects), tuple(order)


def check_dropout(dropout: float) -> float:
    """Returns a probability; raises `InputError` if it is none."""
    if not 0 <= dropout <= 1:
        raise InputError(f"dropout must lie in [0, 1], got {dropout}: 0 is none.")
    return dropout


def draw_depths(z: Tensor, most: int, dropout: float) -> Tensor | None:
    """Draws how many quantizers each example keeps, from the first on, (B,) or (); `None` for all.

    Arguments:
        z: (..., D), whose first axis, if there is one beside D, has the examples.
        most: Q, the number of quantizers.
        dropout: The probability that an example keeps 1 … Q of them, evenly drawn.
    """
    if dropout == 0:
        return None
    examples = z.shape[:-1][:1]
    depth = torch.randint(1, most + 1, examples, device=z.device)
    chosen = torch.rand(examples, device=z.device) < dropout
    return torch.where(chosen, depth, most)


def kept_at(depth: Tensor | None, number: int, mask: Tensor | None, z: Tensor) -> Tensor | None:
    """Returns the vectors that quantizer `number` sees: (...) bool, or None for all."""
    if depth is None:
        return mask
    batch = z.shape[:-1]
    kept = (depth > number).view(*batch[:1], *(1 for _ in batch[1:])).expand(batch)
    return kept if mask is None else kept & mask


def sum_losses(weighted: Iterable[tuple[float, Losses]]) -> Losses:
    """Sums each loss over several quantizers, weighted; a missing loss counts as 0."""
    total: Losses = {}
    for weight, losses in weighted:
        for name, loss in losses.items():
            total[name] = total[name] + weight * loss if name in total else weight * loss
    return total


def check_per_vector(quantizers: Sequence[Quantizer], what: str) -> None:
    """Raises `InputError` if there are no quantizers, or one acts on whole grids, not vectors."""
    if not len(quantizers):
        raise InputError(f"At least one of the {what} is needed, got none: pass a list of them.")
    for quantizer in quantizers:
        if quantizer.acts_on_grid:
            raise InputError(
                f"The {what} each quantize single vectors, got a {type(quantizer).__name__}, "
                f"which quantizes whole grids: put it around them instead."
            )


def _check_estimators(stage: Quantizer) -> None:
    """Raises `InputError` if a stage has an estimator that only the whole sum can have."""
    learns = learns_from_output(stage)
    for module in stage.modules():
        if not isinstance(module, Estimator) or isinstance(module, StraightThrough):
            continue
        if not (learns and module.needs_commitment):
            name = type(module).__name__
            raise InputError(
                f"The stages of a sum are straight-through, got one with {name}: give the "
                f"{name} to the sum, which has a single estimator for all of them."
            )
