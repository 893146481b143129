"""Priors: distributions over grids of indices, p(q) or p(q | context).

A prior is learned from the indices of a training set, after the tokenizer is frozen. It replaces the uniform
distribution, under which an index costs log K nats: what it saves is what there is to know about the grids. It sees
integers and a codebook size, never an autoencoder.

    loss      −log p(q | context) in nats an index, or a bound on it: what training makes small
    log_prob  log p(q | context), where it can be computed
    sample    q ~ p(q | context), or q ~ p(q | known tokens, context)

The context of a grid is a raw value of the prior's condition, a label or a time; the prior asks its condition for
features.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from smalti.artifacts import Pretrained
from smalti.data.conditions import Condition
from smalti.errors import InputError
from smalti.priors.sampling import Choice

__all__ = ["Prior", "TractablePrior", "evaluating"]


class Prior(nn.Module, Pretrained, ABC):
    """A distribution over grids of indices.

    Arguments:
        codebook_size: K; indices are in [0, K).
        grid: Shape of one grid, (H, W) or (T,).
        condition: What it is conditioned on, if anything.

    Raises:
        InputError: If the codebook is empty or the grid has no positions.
    """

    def __init__(
        self, codebook_size: int, grid: Sequence[int], condition: Condition | None = None
    ) -> None:
        super().__init__()
        if codebook_size < 1:
            raise InputError(f"codebook_size must be at least 1, got {codebook_size}.")
        if not grid or any(length < 1 for length in grid):
            raise InputError(
                f"The grid must have at least one position along each dimension, got {tuple(grid)}: "
                f"give the grid of the tokenizer, e.g. (8, 8)."
            )
        self.codebook_size = codebook_size
        self.grid = tuple(grid)
        self.condition = condition

    @property
    def positions(self) -> int:
        """Number of indices in one grid."""
        return int(torch.Size(self.grid).numel())

    @abstractmethod
    def loss(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """The mean loss in nats an index, a scalar.

        Arguments:
            indices: (B, *grid), int64 in [0, K).
            context: (B,) values of the condition, or None for an unconditional prior.

        Raises:
            InputError: If the indices or the context do not fit the prior.
        """

    def sample(
        self,
        shape: Sequence[int],
        context: Tensor | None = None,
        *,
        known: Tensor | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draws grids, in evaluation mode and without gradients.

        Arguments:
            shape: (B, *grid).
            context: (B,) values of the condition, or None for an unconditional prior.
            known: (B, *grid), indices to keep, with -1 where to fill in.
            temperature, top_k, top_p: See `smalti.priors.sampling.choose`.
            generator: Source of randomness, on any device; torch's global one if there is none.

        Returns:
            (B, *grid), int64 in [0, K), on the device of the prior.

        Raises:
            InputError: If an argument does not fit the prior.
        """
        choice = Choice(temperature, top_k, top_p, generator)
        batch = self._check_shape(shape)
        context = self._check_context(context, batch)
        if known is not None:
            known = self._check_indices(known, lowest=-1)
            if len(known) != batch:
                raise InputError(
                    f"known must have the shape {tuple(shape)} of what is drawn, got {tuple(known.shape)}: "
                    f"give one grid a sample, with -1 where to fill in."
                )
        with evaluating(self), torch.inference_mode():
            drawn = self._sample(batch, context, known, choice)
        return drawn.clone()  # outside of inference mode, so that it can be trained on

    @abstractmethod
    def _sample(
        self, batch: int, context: Tensor | None, known: Tensor | None, choice: Choice
    ) -> Tensor:
        """`sample` of checked arguments."""

    @property
    def device(self) -> torch.device:
        """Where the prior's weights are."""
        tensors = (*self.parameters(), *self.buffers())
        return tensors[0].device if tensors else torch.device("cpu")

    def _check_shape(self, shape: Sequence[int]) -> int:
        if tuple(shape[1:]) != self.grid or not shape or shape[0] < 0:
            raise InputError(
                f"The prior makes grids of shape {self.grid}, got the shape {tuple(shape)}: "
                f"give (number of samples, {', '.join(map(str, self.grid))})."
            )
        return int(shape[0])

    def _check_indices(self, indices: Tensor, lowest: int = 0) -> Tensor:
        """The indices as int64 on the prior's device."""
        name = "indices" if lowest == 0 else "known"
        if indices.is_floating_point() or indices.dtype == torch.bool or indices.is_complex():
            raise InputError(f"{name} must be integers, got {indices.dtype}: convert to int64.")
        if tuple(indices.shape[1:]) != self.grid or indices.ndim == 0:
            raise InputError(
                f"{name} must have the shape (B, {', '.join(map(str, self.grid))}), "
                f"got {tuple(indices.shape)}: this prior was made for that grid."
            )
        if indices.numel():
            low, high = (int(bound) for bound in indices.aminmax())
            if low < lowest or high >= self.codebook_size:
                raise InputError(
                    f"{name} must be in [{lowest}, {self.codebook_size}), got values from {low} to {high}: "
                    f"they come from another tokenizer."
                )
        return indices.to(self.device, torch.int64)

    def _check_context(self, context: Tensor | None, batch: int) -> Tensor | None:
        """The context on the prior's device."""
        if self.condition is None:
            if context is not None:
                raise InputError(
                    "This prior has no condition, got a context: leave the context out."
                )
            return None
        if context is None:
            raise InputError(
                f"This prior is conditioned on a {self.condition.name}, got no context: give {batch} of them."
            )
        if tuple(context.shape) != (batch,):
            raise InputError(
                f"The context must have one {self.condition.name} a grid, shape ({batch},), "
                f"got {tuple(context.shape)}."
            )
        self.condition.check(context)
        return context.to(self.device)


class TractablePrior(Prior):
    """A prior whose likelihood can be computed: its loss is −log p, in nats an index."""

    def log_prob(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(indices | context) of each grid in nats, (B,).

        Arguments:
            indices: (B, *grid), int64 in [0, K).
            context: (B,) values of the condition, or None for an unconditional prior.

        Raises:
            InputError: If the indices or the context do not fit the prior.
        """
        indices = self._check_indices(indices)
        return self._log_prob(indices, self._check_context(context, len(indices)))

    @abstractmethod
    def _log_prob(self, indices: Tensor, context: Tensor | None) -> Tensor:
        """`log_prob` of checked arguments."""

    def loss(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """−log p(indices | context) in nats an index, the mean over the batch; see `Prior.loss`."""
        return -self.log_prob(indices, context).sum() / max(indices.numel(), 1)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the length of a block; every submodule is then as it was before.

    Example:
        >>> model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
        >>> with evaluating(model):
        ...     [module.training for module in model.modules()]
        [False, False, False]
        >>> [module.training for module in model.modules()]
        [True, True, False]
    """
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
