"""Networks run chunk by chunk, with the result of the whole.

A causal network looks at earlier positions alone. So it needs, of all that came before a chunk, the
last few inputs of each of its layers: its state. It has a size that does not grow, and with it

    stream(x_1), stream(x_2), …   side by side   =   forward([x_1, x_2, …])

up to the rounding of sums. A chunk has any number of positions that the strides divide.

`stream` runs layers so, and networks made of them are `Streamed`. `Running` keeps the state of one
of these, so that it stands in the place of the network in whatever is made of it.
"""

from __future__ import annotations

import copy
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from smalti.nn.inverse_stft import InverseSTFT
from smalti.nn.padded_convolutions import (
    PaddedConv1d,
    PaddedConvTranspose1d,
    as_rows,
    from_rows,
)
from smalti.nn.snake import Snake

__all__ = [
    "Chain",
    "EachPlace",
    "Residual",
    "Running",
    "State",
    "Streamed",
    "stream",
    "stream_rows",
]

State = Any  # of one layer a tensor, of several a list; None before the first chunk


class EachPlace(nn.Sequential):
    """Layers of vectors (..., C) → (..., D) at each place alone: (B, C, 1, T) → (B, D, 1, T)."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, 1, T) to (B, D, 1, T)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


EACH_ALONE = (nn.ELU, Snake, EachPlace)  # an output depends on the input at its place


def stream(layer: nn.Module, x: Tensor, state: State) -> tuple[Tensor, State]:
    """Runs a layer on the next chunk x (B, C, 1, T) of its input.

    Arguments:
        layer: A causal layer.
        x: The chunk.
        state: What the call for the chunk before returned; `None` for the first.

    Returns:
        The next chunk of the output, and the state.

    Raises:
        TypeError: If it is of a class that is not run so.
    """
    if isinstance(layer, Chain):
        states = [None] * len(layer) if state is None else list(state)
        for number, part in enumerate(layer):
            x, states[number] = stream(part, x, states[number])
        return x, states
    if isinstance(layer, Residual):
        branch, state = stream(layer.branch, x, state)
        return x + branch, state
    if isinstance(layer, PaddedConv1d):
        return _convolved(layer, x, state)
    if isinstance(layer, PaddedConvTranspose1d):
        return _transposed(layer, x, state)
    if isinstance(layer, InverseSTFT):
        return layer.stream(x, state)
    if isinstance(layer, EACH_ALONE):
        return layer(x), None
    raise TypeError(f"A {type(layer).__name__} cannot be run chunk by chunk.")


class Chain(nn.Sequential):
    """Layers one after another, of which it is known what an output depends on."""

    def needs(self, first: int, last: int) -> tuple[int, int]:
        """Returns the first and the last input that the outputs `first` … `last` depend on."""
        for layer in reversed(self):
            if hasattr(layer, "needs"):
                first, last = layer.needs(first, last)  # type: ignore[operator]
            elif not isinstance(layer, EACH_ALONE):
                raise TypeError(f"What a {type(layer).__name__} depends on is not known.")
        return first, last


class Residual(nn.Module):
    """Adds what layers make of x: x + branch(x), (B, C, 1, T) → (B, C, 1, T)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.branch = Chain(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, 1, T) to the same shape."""
        return x + self.branch(x)

    def needs(self, first: int, last: int) -> tuple[int, int]:
        """Returns the first and the last input that the outputs `first` … `last` depend on."""
        low, high = self.branch.needs(first, last)
        return min(first, low), max(last, high)


@runtime_checkable
class Streamed(Protocol):
    """A network that, where it is causal, can be run chunk by chunk.

    Attributes:
        ahead: How many inputs an output depends on after those of its own time; 0 if it is causal.
    """

    ahead: int

    def stream(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Maps the next chunk of the input, (B, C, T), and the state that the call before returned
        (`None` for the first), to the next chunk of the output and the state.
        """


class Running(nn.Module):
    """A copy of a causal network that keeps its state: each call takes the next chunk.

    Weights that are made of others, by weight norm, are made once.

    Arguments:
        network: The network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        assert isinstance(network, Streamed) and network.ahead == 0
        self.network, self.state = copy.deepcopy(network).eval().requires_grad_(False), None
        for part in list(self.network.modules()):
            _make_weights(part)

    def forward(self, x: Tensor) -> Tensor:
        """Maps the next chunk (B, C, T) of the input to that of the output."""
        y, self.state = self.network.stream(x, self.state)
        return y


def _make_weights(part: nn.Module) -> None:
    """Puts the weights that a layer makes of others in their place, once and for all.

    torch's own `remove_parametrizations` would take them from the layer that this is a copy of, for
    both have one class.
    """
    if not parametrize.is_parametrized(part):
        return
    names = list(part.parametrizations)  # type: ignore[arg-type]
    made = {name: getattr(part, name).detach().clone() for name in names}
    part.__class__ = parametrize.type_before_parametrizations(part)
    del part.parametrizations
    for name, value in made.items():
        part.register_parameter(name, nn.Parameter(value, requires_grad=False))


def stream_rows(layers: Chain, x: Tensor, state: State) -> tuple[Tensor, State]:
    """Runs layers on the next chunk of their input as `stream` does, of (B, C, T) to (B, D, L)."""
    y, state = stream(layers, as_rows(x), state)
    return from_rows(y), state


def _convolved(layer: PaddedConv1d, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """Runs a causal convolution on a chunk; its state is the inputs that it looks back on."""
    if before is None:
        before = x.new_zeros(*x.shape[:-1], layer.before)
    seen = torch.cat([before, x], -1)
    return layer.convolved(seen), seen[..., seen.shape[-1] - layer.before :]


def _transposed(
    layer: PaddedConvTranspose1d, x: Tensor, before: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Runs a causal transposed convolution on a chunk; its state is what the last input adds to
    later outputs.

    As a product of matrices: of few positions it is several times as fast as torch's convolution,
    which puts the weights in another order first.
    """
    stride = layer.stride[0]
    h = (x[:, :, 0].transpose(1, 2) @ layer.weight.flatten(1)).unflatten(-1, (-1, 2, stride))
    now, later = h.unbind(-2)  # (B, L, D, stride) each
    if before is None:
        before = torch.zeros_like(later[:, :1])
    y = (now + torch.cat([before, later[:, :-1]], 1)).transpose(2, 3).flatten(1, 2)  # (B, T, D)
    assert layer.bias is not None
    return (y + layer.bias).transpose(1, 2)[:, :, None], later[:, -1:]
