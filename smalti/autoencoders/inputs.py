"""Checks the inputs of autoencoders: signals, and sizes to crop to."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from smalti.arguments import as_tensor, as_whole_number, to_weights
from smalti.errors import InputError
from smalti.signals import Signal

__all__ = ["as_batch", "stack_pair", "check_crop_size", "device_of", "with_size"]


def as_batch(x: Any, signal: Signal, model: nn.Module, any_size: bool = False) -> Tensor:
    """Converts a batch of signals to a tensor on the device and of the dtype of a model's weights.

    Arguments:
        x: (B, C, *size), of any floating-point type: a tensor, an array or nested lists.
        signal: The signal that the model was trained on.
        model: The model whose device and type are taken.
        any_size: Whether signals of other sizes than `signal.size` are taken, too.

    Raises:
        InputError: If x is not a batch of such signals, or is not of a floating-point type.
    """
    x = as_tensor(x, "The signals")
    if x.is_floating_point():
        x = to_weights(x, model)
    (with_size(signal, ()) if any_size else signal).check(x)
    return x


def with_size(signal: Signal, size: tuple[int, ...]) -> Signal:
    """Returns a copy of a signal with another size; with the empty size, any size fits."""
    return replace(signal, size=size)  # type: ignore[type-var]


def stack_pair(x_a: Any, x_b: Any, signal: Signal, model: nn.Module) -> Tensor:
    """Stacks two signals (C, *size) of one size to a batch of two; converts them as `as_batch`."""
    pair = [as_batch(as_tensor(x, "The signal")[None], signal, model) for x in (x_a, x_b)]
    if pair[0].shape != pair[1].shape:  # where any size goes
        shapes = " and ".join(str(tuple(x.shape[1:])) for x in pair)
        raise InputError(
            f"Two signals to interpolate between have one size, got {shapes}: resize one of them."
        )
    return torch.cat(pair)


def check_crop_size(size: Any, whole: tuple[int, ...]) -> tuple[int, ...] | None:
    """Checks the size that signals are cropped to, at most `whole`, and returns it; None for none.

    Raises:
        InputError: If it has another number of dimensions, or a length is out of range.
    """
    if size is None or not size:
        return None
    if not isinstance(size, list | tuple | torch.Size) or len(size) != len(whole):
        raise InputError(
            f"The size to crop to has {len(whole)} lengths, at most {whole}, got {size}: leave it "
            f"out for the whole."
        )
    limits = zip(size, whole, strict=True)
    return tuple(as_whole_number(n, "A length to crop to", 1, most) for n, most in limits)


def device_of(model: nn.Module) -> torch.device:
    """Returns the device of a model's weights, or where it has none, of its buffers."""
    held = itertools.chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in held), torch.device("cpu"))
