"""Priors: distributions over grids of indices, p(q) or p(q | context).

A prior is learned from the indices of a training set, after the tokenizer is frozen. It takes the
place of the uniform distribution, under which an index costs log K nats: what it saves is what
there is to know about the grids. It sees integers and a codebook size, never an autoencoder.

    loss      −log p(q | context) in nats per index, or a bound on it: what training makes small
    log_prob  log p(q | context), where it can be computed
    sample    q ~ p(q | context), or q ~ p(q | known indices, context)

The context of a grid is given as a raw value of the prior's condition: a label, a time, or the
grids above it in a hierarchy, as one row of numbers. The condition is a module of the prior, and
makes of values the vectors and grids that its network is conditioned on.
"""

from __future__ import annotations

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from smalti.arguments import a_whole_number, as_integers, as_tensor
from smalti.artifacts import Pretrained
from smalti.conditions import Condition, Context
from smalti.errors import InputError
from smalti.priors.sampling import SamplingConfig

__all__ = ["Prior", "TractablePrior", "evaluating", "in_evaluation"]

LARGEST_TABLE = 2**24  # codewords: 64 numbers for each take 4 GB

M = TypeVar("M", bound=nn.Module)


class Prior(nn.Module, Pretrained, ABC):
    """A distribution over grids of indices.

    Arguments:
        codebook_size: K; indices are in [0, K).
        grid: Shape of one grid, (H, W) or (T,); of Q indices per position, (H, W, Q) or (T, Q).
        condition: What it is conditioned on, if anything.

    Attributes:
        tabular: Whether it holds weights for each of the K codewords.

    Raises:
        InputError: If the codebook is empty, or too large to be tabular, or the grid has no
            positions.
    """

    tabular: bool = False

    def __init__(
        self, codebook_size: int, grid: Sequence[int], condition: Condition | None = None
    ) -> None:
        super().__init__()
        if codebook_size < 1:
            raise InputError(
                f"codebook_size must be at least 1, got {codebook_size}: give the tokenizer's."
            )
        if not grid or any(length < 1 for length in grid):
            raise InputError(
                f"The grid must have at least one position along each dimension, "
                f"got {tuple(grid)}: give the grid of the tokenizer, e.g. (8, 8)."
            )
        if self.tabular and codebook_size > LARGEST_TABLE:
            raise InputError(
                f"A {type(self).__name__} holds weights for each codeword, of at most 2**24, got a "
                f"codebook of {codebook_size}: split it among several quantizers, or set --prior "
                f"null to learn the tokenizer alone."
            )
        self.codebook_size = codebook_size
        self.grid = tuple(grid)
        self.condition = condition

    def context_of(self, values: Tensor | None) -> Context:
        """Returns what the network is conditioned on, of values (B, *shape) of the condition."""
        return Context() if self.condition is None else self.condition(values)

    @property
    def positions(self) -> int:
        """Returns the number of indices in one grid."""
        return int(torch.Size(self.grid).numel())

    @property
    def device(self) -> torch.device:
        """Returns the device of the weights."""
        tensors = (*self.parameters(), *self.buffers())
        return tensors[0].device if tensors else torch.device("cpu")

    @abstractmethod
    def loss(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns the mean loss in nats per index, a scalar.

        Arguments:
            indices: (B, *grid), integers in [0, K).
            context: (B, *shape) values of the condition, or None for an unconditional prior.

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

        The mode of the prior itself is not touched: threads may sample from one prior at a time,
        with a generator each, and get what they would get one after another.

        Arguments:
            shape: (B, *grid).
            context: (B, *shape) values of the condition, or None for an unconditional prior.
            known: (B, *grid), integers of any type, indices to keep, with -1 where to fill in.
            temperature, top_k, top_p: See `smalti.priors.sample_from_logits`.
            generator: Source of randomness, on any device; torch's global one if there is none.

        Returns:
            (B, *grid), int64 in [0, K), on the device of the prior.

        Raises:
            InputError: If an argument does not fit the prior, or what the prior gives is not
                finite.
        """
        config = SamplingConfig(temperature, top_k, top_p, generator)
        batch = self._check_shape(shape)
        context = self._check_context(context, batch)
        if known is not None:
            known = self._check_indices(known, "known", lowest=-1)
            if len(known) != batch:
                raise InputError(
                    f"known must have the shape {tuple(shape)} of what is drawn, "
                    f"got {tuple(known.shape)}: give one grid per sample, with -1 where to fill in."
                )
        with torch.inference_mode():
            drawn = in_evaluation(self)._sample(batch, context, known, config)
        return drawn.clone()  # an ordinary tensor, which autograd may keep

    @abstractmethod
    def _sample(
        self, batch: int, context: Tensor | None, known: Tensor | None, config: SamplingConfig
    ) -> Tensor:
        """Samples with checked arguments, by the view that `in_evaluation` gives."""

    def _check_shape(self, shape: Sequence[int]) -> int:
        """Returns the number of samples."""
        whole = tuple(shape) if isinstance(shape, list | tuple) else None
        if not whole or whole[1:] != self.grid:
            got = whole if whole is not None else f"a {type(shape).__name__}"
            raise InputError(
                f"The prior makes grids of shape {self.grid}, got the shape {got}: "
                f"give (number of samples, {_commas(self.grid)})."
            )
        return a_whole_number(whole[0], "The number of samples", 0)

    def _check_indices(self, indices: Any, name: str = "indices", lowest: int = 0) -> Tensor:
        """Returns the indices as int64 on the prior's device."""
        indices = as_integers(indices, name)
        if not indices.ndim or tuple(indices.shape[1:]) != self.grid:
            raise InputError(
                f"{name} must have the shape (B, {_commas(self.grid)}), "
                f"got {tuple(indices.shape)}: the prior was made for that grid."
            )
        if indices.numel():
            low, high = (int(bound) for bound in indices.aminmax())
            if low < lowest or high >= self.codebook_size:
                raise InputError(
                    f"{name} must be from {lowest} to {self.codebook_size - 1}, "
                    f"got values from {low} to {high}: take those of the prior's own tokenizer."
                )
        return indices.to(self.device)

    def _check_context(self, context: Any, batch: int) -> Tensor | None:
        """Returns the context on the prior's device."""
        if self.condition is None:
            if context is not None:
                shape = tuple(as_tensor(context, "The context").shape)
                raise InputError(
                    f"The prior has no condition, got a context of shape {shape}: leave it out."
                )
            return None
        name = self.condition.name
        if context is None:
            raise InputError(
                f"The prior is conditioned on a {name}, got no context: give {batch} of them."
            )
        context = as_tensor(context, "The context")
        shape = (batch, *self.condition.shape)
        if tuple(context.shape) != shape:
            raise InputError(
                f"The context must have one {name} a grid, {shape}, "
                f"got the shape {tuple(context.shape)}: repeat or cut it."
            )
        self.condition.check(context)
        if self.device.type == "mps" and context.dtype == torch.float64:
            context = context.float()  # there is no float64
        return context.to(self.device)


class TractablePrior(Prior):
    """A prior whose likelihood can be computed: its loss is −log p in nats per index."""

    def log_prob(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """Computes log p(indices | context) of each grid in nats, (B,).

        Arguments:
            indices: (B, *grid), integers in [0, K).
            context: (B, *shape) values of the condition, or None for an unconditional prior.

        Raises:
            InputError: If the indices or the context do not fit the prior.
        """
        indices = self._check_indices(indices)
        return self._log_prob(indices, self._check_context(context, len(indices)))

    @abstractmethod
    def _log_prob(self, indices: Tensor, context: Tensor | None) -> Tensor:
        """Computes `log_prob` of checked arguments."""

    def loss(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns −log p(indices | context), the mean in nats per index; see `Prior.loss`."""
        return -self.log_prob(indices, context).sum() / max(indices.numel(), 1)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Sets evaluation mode for the length of a block, and restores each submodule's mode.

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


def in_evaluation(model: M) -> M:
    """Returns a view of the model that is in evaluation mode and shares all else.

    Weights, buffers and whatever else its modules hold are the very same objects. A model that is
    in evaluation mode is its own view.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
        >>> view = in_evaluation(model)
        >>> view.training, view[1].training, model[1].training
        (False, False, True)
        >>> view[0].weight is model[0].weight
        True
    """
    if not any(module.training for module in model.modules()):
        return model
    views: dict[int, nn.Module] = {}

    def view(module: nn.Module) -> nn.Module:
        if id(module) not in views:
            views[id(module)] = seen = copy.copy(module)
            seen.__dict__ = dict(module.__dict__)
            seen.training = False
            seen._modules = {
                name: None if inner is None else view(inner)
                for name, inner in module._modules.items()
            }
        return views[id(module)]

    of_model = view(model)
    assert isinstance(of_model, type(model))
    return of_model


def _commas(grid: tuple[int, ...]) -> str:
    return ", ".join(map(str, grid))
