"""Converts and checks the arguments that users give: tensors, whole numbers, seeds.

Whatever can be meant in one way only is taken: numpy arrays of any byte order and nested lists for
tensors, every integer type for indices, every floating-point type for signals. Everything else is
one line that says what is wrong, what was got, and how to mend it. Nothing is rounded, and no
floating-point number is taken for an index.
"""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalti.errors import InputError, first_line

__all__ = [
    "as_generator",
    "as_number",
    "as_seed",
    "as_whole_number",
    "as_floats",
    "as_integers",
    "as_tensor",
    "check_finite",
    "check_result",
    "to_weights",
]


def as_tensor(value: Any, what: str) -> Tensor:
    """Converts a numpy array, or a list of numbers or of tensors of one shape, to a tensor.

    Arguments:
        value: The argument.
        what: What messages call it, as the subject of a sentence: "The signals".

    Raises:
        InputError: If it is something else, or of rows of different lengths.

    Example:
        >>> as_tensor([[1, 2], [3, 4]], "The indices").shape
        torch.Size([2, 2])
    """
    if isinstance(value, Tensor):
        if value.is_meta:
            raise InputError(f"{what} must hold values, got a tensor on the device meta: make it.")
        if value.layout != torch.strided or value.is_quantized:
            raise InputError(f"{what} must be a dense tensor, got {value.layout}: use .to_dense().")
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(v, Tensor) for v in value):
        shapes = {tuple(v.shape) for v in value}
        if len(shapes) > 1:
            raise InputError(
                f"{what} must have one shape to be a batch, got {_some(sorted(shapes))}: give "
                f"those of each shape by themselves."
            )
        return torch.stack([as_tensor(v, what).to(value[0].device) for v in value])
    if isinstance(value, list | tuple | np.ndarray | np.generic) or hasattr(value, "__array__"):
        return _of_numpy(value, what)
    raise InputError(
        f"{what} must be a tensor or an array of numbers, got {_kind(value)}: "
        f"convert with torch.as_tensor."
    )


def as_floats(value: Any, what: str) -> Tensor:
    """Converts to a tensor, and checks that its dtype is floating-point.

    Raises:
        InputError: If it is of another type.
    """
    tensor = as_tensor(value, what)
    if not tensor.is_floating_point():
        raise InputError(
            f"{what} must be floating-point values, got {tensor.dtype}: convert with .float()."
        )
    return tensor


def as_integers(value: Any, what: str) -> Tensor:
    """Converts a tensor of any integer type to int64.

    Raises:
        InputError: If it is of another type, or a number does not fit.

    Example:
        >>> as_integers(np.array([1, 2], dtype=">u2"), "The indices")
        tensor([1, 2])
    """
    tensor = as_tensor(value, what)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise InputError(
            f"{what} must be integers, got {tensor.dtype}: give those that encode gave, e.g. as "
            f"int64."
        )
    integers = tensor.to(torch.int64)
    if tensor.dtype == torch.uint64 and integers.numel() and int(integers.min()) < 0:
        raise InputError(
            f"{what} must be below 2⁶³, got {int(integers.min()) + 2**64}: give those that encode "
            f"gave."
        )
    return integers


def as_whole_number(
    value: Any, what: str, least: int | None = None, most: int | None = None
) -> int:
    """Converts a whole number of any integer type to int, and checks that it is in [least, most].

    None stands for no bound; `what` is the subject of the message.

    Raises:
        InputError: If it is no whole number, or lies outside.

    Example:
        >>> as_whole_number(np.int32(3), "n", 1)
        3
    """
    wanted = f", at least {least}" if most is None else f" from {least} to {most}"
    wanted = "" if least is None else wanted
    number = _integer(value)
    if number is None:
        raise InputError(
            f"{what} must be a whole number{wanted}, got {_shown(value)}: give one, e.g. 8."
        )
    if least is not None and (number < least or (most is not None and number > most)):
        raise InputError(f"{what} must be{wanted.lstrip(',')}, got {number}: choose another.")
    return number


def as_number(value: Any, what: str, mend: str) -> float:
    """Converts a real number of any type to float: int, float, or a numpy or torch scalar.

    Raises:
        InputError: If it is not a number; `mend` says what to give.
    """
    try:
        if isinstance(value, bool | np.bool_ | str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{what} must be a number, got {_shown(value)}: {mend}.") from error


def as_seed(value: Any) -> int:
    """Converts a seed to int, and checks that it is a whole number from 0 to 2⁶³ − 1.

    Raises:
        InputError: If it is not.
    """
    seed = _integer(value)
    if seed is None:
        raise InputError(
            f"A seed is a whole number between 0 and 2⁶³ − 1, got {_shown(value)}: choose another."
        )
    if not 0 <= seed < 2**63:
        raise InputError(f"A seed lies between 0 and 2⁶³ − 1, got {seed}: choose another.")
    return seed


def as_generator(value: Any) -> torch.Generator | None:
    """Checks that a value is a torch.Generator, or None for torch's global one, and returns it.

    Raises:
        InputError: If it is something else, such as a seed.
    """
    if value is None or isinstance(value, torch.Generator):
        return value
    raise InputError(
        f"generator must be a torch.Generator, got {_shown(value)}: "
        f"use torch.Generator().manual_seed(0)."
    )


def check_finite(values: Tensor, what: str) -> None:
    """Raises `InputError` if the values that a user gave have NaN or infinity among them."""
    if values.numel() and not bool(values.isfinite().all()):
        bad = "NaN" if bool(values.isnan().any()) else "infinite values"
        raise InputError(f"{what} must be finite, got {bad}: correct or leave out those examples.")


def check_result(values: Tensor, who: str) -> Tensor:
    """Returns the output of a network, after checking that all its values are finite.

    Arguments:
        values: The output of the network.
        who: What messages call the network, as the subject of a sentence: "The decoder".

    Raises:
        InputError: If a value is NaN or infinite, which says that the network is broken.
    """
    if values.numel() and not bool(values.isfinite().all()):
        raise InputError(
            f"{who} gives values that are not finite: its weights are damaged, or its training "
            f"diverged; load another model, or train again with a smaller learning rate."
        )
    return values


def to_weights(x: Tensor, module: torch.nn.Module) -> Tensor:
    """Moves x to the device and dtype of a module's floating-point parameters.

    If the module has no parameters, those of its buffers are taken.
    """
    for parameter in itertools.chain(module.parameters(), module.buffers()):
        if parameter.is_floating_point():
            return x.to(parameter.device, parameter.dtype)
    return x


def _integer(value: Any) -> int | None:
    """Returns an integer of any type as int; None for all else, truth values too."""
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _of_numpy(value: Any, what: str) -> Tensor:
    """Copies an array, or nested lists, to a tensor; raises `InputError` if it holds no numbers."""
    if np.ma.is_masked(value):
        raise InputError(f"{what} must all be there, got a masked array: fill what is masked.")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise InputError(
            f"{what} must have one shape, got {_kind(value)} that is none ({first_line(error)}): "
            f"make all rows equally long."
        ) from error
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"{what} must be numbers, got an array of {array.dtype} with the shape {array.shape}: "
            f"convert with torch.as_tensor."
        )
    if isinstance(value, list | tuple) and not array.size:  # of no numbers, no type is known
        raise InputError(
            f"{what} must be a tensor or an array of numbers, got {_kind(value)} of none: give "
            f"torch.empty with the shape that you mean."
        )
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    # In the machine's byte order, forwards, and no longer shared with who gave it.
    native = np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=True)
    return torch.from_numpy(native)


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}…"


def _some(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes[:3])) + (", …" if len(shapes) > 3 else "")
