"""A condition that may be left out, as classifier-free guidance needs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from smalti.artifacts import registered
from smalti.conditions.base import Condition, Context, ContextSizes
from smalti.errors import InputError

__all__ = ["OptionalCondition"]

NONE = "none"


@registered
class OptionalCondition(Condition):
    """Wraps a condition so that it may be left out: null becomes one of its values.

    In training a random share of the values is replaced by null. So the prior also learns the
    unconditional distribution, which classifier-free guidance needs.

    References:
        Classifier-Free Diffusion Guidance (Ho, Salimans, 2022), arXiv 2207.12598.

    Arguments:
        condition: The condition that may be left out.
        dropout: Probability that a value is left out in training.

    Raises:
        InputError: If the probability is not above 0 and below 1, or the condition is optional
            already.

    Example:
        >>> from smalti.conditions import Label
        >>> label = OptionalCondition(Label(["cat", "dog"])).eval()
        >>> label.parse("none"), label.format(-1)
        (-1, 'none')
        >>> label(torch.tensor([-1, 1])).vector
        tensor([[0., 0.],
                [0., 1.]])
    """

    def __init__(self, condition: Condition, dropout: float = 0.1) -> None:
        super().__init__()
        if condition.optional or not 0 < dropout < 1:
            got = f"a {type(condition).__name__}" if condition.optional else f"{dropout}"
            raise InputError(
                f"What is always given can be left out, with a probability above 0 and below 1, "
                f"got {got}: 0.1 of a label is a good start."
            )
        self.condition, self.dropout = condition, dropout
        self.name, self.dtype = condition.name, condition.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.condition.shape

    @property
    def sizes(self) -> ContextSizes:
        return self.condition.sizes

    @property
    def null(self) -> Tensor:
        return self.condition.null

    @property
    def optional(self) -> bool:
        return True

    @property
    def takes_any_text(self) -> bool:
        return self.condition.takes_any_text

    @property
    def help(self) -> str:
        return f"{self.condition.help}; or {NONE}"

    def parse(self, text: str) -> Any:
        if self.condition.takes_any_text and text.strip() == NONE:
            return self.null.tolist()
        try:
            return self.condition.parse(text)
        except InputError:
            if text.strip() != NONE:
                raise
            return self.null.tolist()

    def format(self, value: Any) -> str:
        if torch.equal(torch.as_tensor(value).to(self.null), self.null):
            return NONE
        return self.condition.format(value)

    def check(self, values: Tensor) -> None:
        if values.shape[1:] == self.null.shape:
            values = values[~self.is_null(values)]
        self.condition.check(values)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draws n values, null not among them."""
        return self.condition.draw(n, generator)

    def distance(self, values: Tensor, others: Tensor) -> Tensor:
        apart = self.condition.distance(values, others)
        left_out, other = self.is_null(values), self.is_null(others)
        apart = torch.where(left_out | other, torch.inf, apart)
        return torch.where(left_out & other, 0.0, apart)

    def matches(self, asked: Tensor, got: Tensor) -> Tensor:
        """See `Condition.matches`; whatever is shown is right where nothing was asked for."""
        return self.is_null(asked) | self.condition.matches(asked, got)

    def without(self, values: Tensor) -> Tensor:
        return self.null.to(values).expand_as(values)

    def forward(self, values: Tensor) -> Context:
        if self.training:
            dropped = torch.rand(len(values), device=values.device) < self.dropout
            values = torch.where(
                dropped.view(-1, *[1] * (values.ndim - 1)), self.without(values), values
            )
        return self.condition(values)
