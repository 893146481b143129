"""Caches intermediate results of measurements, and seeds each measurement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from smalti.priors.base import evaluation_mode

__all__ = ["Memo", "measurement_mode"]

T = TypeVar("T")


@contextmanager
def measurement_mode(seed: int, *models: nn.Module | None) -> Iterator[None]:
    """Sets up a `with` block for a measurement: seeded, without gradients, in evaluation mode.

    Arguments:
        seed: Seed of torch's global generator within the block.
        models: The models that are put in evaluation mode.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        torch.manual_seed(seed)
        for model in models:
            if model is not None:
                stack.enter_context(evaluation_mode(model))
        yield


class Memo:
    """Caches results that several measurements need, by name; or the error of the first try."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._errors: dict[str, Exception] = {}

    def __call__(self, name: str, make: Callable[[], T]) -> T:
        """Returns what `make` gives at the first call of this name.

        Raises:
            Exception: What `make` raised at the first call, again at every later one.

        Example:
            >>> kept = Memo()
            >>> kept("three", lambda: 3), kept("three", lambda: 4)
            (3, 3)
        """
        if name in self._errors:
            raise self._errors[name]
        if name not in self._made:
            try:
                self._made[name] = make()
            except Exception as error:
                self._errors[name] = error
                raise
        made: T = self._made[name]
        return made
