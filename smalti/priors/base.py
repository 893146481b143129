"""Priors: distributions over the latents of an autoencoder, p(z) or p(z | context).

A prior is learned from the latents of a training set, after the autoencoder is frozen. Those of a
tokenizer are grids of indices (`smalti.priors.token_prior`), those of a continuous autoencoder
vectors. It sees numbers only, never an autoencoder.

    loss      what training makes small: −log p(z | context) in nats per number, a bound on it, or
              something else that the class says
    log_prob  log p(z | context), where it can be computed
    sample    z ~ p(z | context), or z ~ p(z | known, context)

The context of an example is given as a raw value of the prior's condition: a label, a time, or the
grids above it in a hierarchy, as one row of numbers. The condition is a module of the prior, and
makes of values the vectors and grids that its network is conditioned on.
"""

from __future__ import annotations

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from smalti.arguments import as_generator, as_tensor, as_whole_number
from smalti.artifacts import Pretrained
from smalti.conditions import Condition, Context
from smalti.errors import InputError
from smalti.priors.sampling import SamplingConfig

__all__ = ["Prior", "evaluation_mode", "evaluation_view"]

M = TypeVar("M", bound=nn.Module)


class Prior(nn.Module, Pretrained, ABC):
    """Abstract: a distribution over latents, to draw samples from.

    Arguments:
        condition: The condition, such as a label; None for an unconditional prior.

    Attributes:
        takes: The options of a `SamplingConfig` that it can follow.
    """

    takes: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, condition: Condition | None = None) -> None:
        super().__init__()
        self.condition = condition

    @property
    def device(self) -> torch.device:
        """Returns the device of the weights."""
        tensors = (*self.parameters(), *self.buffers())
        return tensors[0].device if tensors else torch.device("cpu")

    def context_of(self, values: Tensor | None) -> Context:
        """Returns what the network is conditioned on, of values (B, *shape) of the condition."""
        return Context() if self.condition is None else self.condition(values)

    @abstractmethod
    def loss(
        self, latents: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Returns the mean loss of the latents, a scalar.

        It is in nats per number where the prior has a likelihood or a bound on it; else the class
        says what it is.

        Arguments:
            latents: (B, ...), of the autoencoder.
            context: (B, *shape) values of the condition, or None for an unconditional prior.
            mask: (B, ...) bool, which of the latents count; all if not given. The others may hold
                anything: they are neither counted nor seen.

        Raises:
            InputError: If one does not fit the prior, or it cannot leave any out.
        """

    def prepare(self, latents: Tensor) -> None:  # noqa: B027 - most have nothing to do
        """Fits what depends on all training latents, before training starts or resumes.

        Most priors have nothing to fit.

        Arguments:
            latents: (N, ...), of the training examples.

        Raises:
            InputError: If they do not fit the prior.
        """

    def sample(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        known: Tensor | None = None,
        config: SamplingConfig | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draws n latents, in evaluation mode and without gradients.

        The mode of the prior itself is not touched: threads may sample from one prior at a time,
        with a generator each, and get what they would get one after another.

        Arguments:
            n: The number of samples.
            context: (n, *shape) values of the condition, or None for an unconditional prior.
            known: (n, ...), what to keep, with -1 where to fill in, of a prior over tokens.
            config: Temperature, truncation and guidance; those of the learned prior if not given.
            generator: Source of randomness, on any device; torch's global one if there is none.

        Returns:
            (n, ...), on the device of the prior.

        Raises:
            InputError: If an argument does not fit the prior, it cannot do what the config says, or
                what it gives is not finite.
        """
        n = as_whole_number(n, "The number of samples", 0)
        config = self._check_config(SamplingConfig() if config is None else config)
        generator = as_generator(generator)
        context = self._check_context(context, n)
        known = None if known is None else self._check_known(known, n)
        with torch.inference_mode():
            drawn = evaluation_view(self)._sample(n, context, known, config, generator)
        return drawn.clone()  # an ordinary tensor, which autograd may keep

    @abstractmethod
    def _sample(
        self,
        n: int,
        context: Tensor | None,
        known: Tensor | None,
        config: SamplingConfig,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Samples with checked arguments, by the view that `evaluation_view` gives."""

    @abstractmethod
    def _check_known(self, known: Any, n: int) -> Tensor:
        """Returns the known latents of n samples on the prior's device."""

    def _check_config(self, config: SamplingConfig) -> SamplingConfig:
        """Returns the config if the prior can follow it."""
        if not isinstance(config, SamplingConfig):
            raise InputError(
                f"config must be a SamplingConfig, got a {type(config).__name__}: "
                f"give e.g. SamplingConfig(temperature=0.9)."
            )
        for option, value in config.chosen().items():
            if option not in self.takes:
                raise InputError(
                    f"A {type(self).__name__} samples without {option}, got {option}={value}: "
                    f"leave it out."
                )
        if config.guidance != 1 and self.condition is None:
            raise InputError(
                f"Guidance makes more of a condition, and this {type(self).__name__} has none, got "
                f"guidance={config.guidance}: leave it out."
            )
        if config.guidance != 1 and self.condition is not None and not self.condition.optional:
            raise InputError(
                f"Guidance needs a prior that was trained without its {self.condition.name} too, "
                f"got guidance={config.guidance}: fit one with --prior.condition_dropout 0.1."
            )
        return config

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


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Sets a model to evaluation mode within a `with` block, and restores each submodule's mode.

    Example:
        >>> model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
        >>> with evaluation_mode(model):
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


def evaluation_view(model: M) -> M:
    """Returns a view of a model that is in evaluation mode and shares all weights with it.

    Weights, buffers and whatever else its modules hold are the very same objects. A model that is
    in evaluation mode is its own view.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
        >>> view = evaluation_view(model)
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
