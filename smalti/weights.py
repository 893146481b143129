"""Compares the weights of a saved model with the model that its config describes.

Before anything is allocated, the model is built on torch's meta device, which holds no numbers, and
its sizes are compared with those in the header of the weights file. A config that asks for more
layers than there are weights is stopped while it is built.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.modules import module as registration

from smalti.counting import counted
from smalti.errors import InputError, first_line

__all__ = ["TensorSpec", "limit_parts", "first_difference", "first_not_finite", "read_tensor_specs"]

UNSAVED = 4 << 30  # bytes of tensors that are not among the weights, such as coordinates


class TensorSpec(NamedTuple):
    """Shape and kind of a tensor, from the header of a weights file.

    Attributes:
        shape: Its shape.
        kind: The kind of its dtype: "float", "int", …
    """

    shape: tuple[int, ...]
    kind: str  # "float", "int", "bool" or "complex"


@contextmanager
def limit_parts(entries: int) -> Iterator[None]:
    """Limits the number of modules built within a `with` block, by the tensors in a file.

    Raises:
        InputError: If far more modules are built than the file has tensors.
    """
    left = {"tensors": 4 * entries + 256, "modules": 16 * entries + 512}
    here = threading.get_ident()

    def count(what: str, *_: Any) -> None:
        if threading.get_ident() == here:
            left[what] -= 1
            if left[what] < 0:
                raise InputError(
                    f"The config asks for a model of more parts than its weights, which have "
                    f"{counted(entries, 'tensor')}: copy the model again, or save it again."
                )

    tensors, modules = functools.partial(count, "tensors"), functools.partial(count, "modules")
    with ExitStack() as stack:
        for register, hook in (
            (registration.register_module_parameter_registration_hook, tensors),
            (registration.register_module_buffer_registration_hook, tensors),
            (registration.register_module_module_registration_hook, modules),
        ):
            stack.callback(register(hook).remove)
        yield


def read_tensor_specs(weights_file: Path) -> dict[str, TensorSpec]:
    """Reads the shapes and kinds of the tensors in a weights file, from its header alone.

    Raises:
        InputError: If the file is truncated or damaged.
    """
    try:
        with safe_open(weights_file, framework="pt") as content:
            parts = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118
            return {
                name: TensorSpec(tuple(part.get_shape()), _kind_of(part.get_dtype()))
                for name, part in parts.items()
            }
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{weights_file} is damaged ({error}): copy it again.") from error


def first_difference(model: nn.Module, weights: Mapping[str, TensorSpec]) -> str | None:
    """Describes the first tensor in which a model and a weights file differ; None if none does.

    A tensor without elements takes any number of rows: it is filled from the file.
    """
    state = model.state_dict(keep_vars=True)
    for name, found in weights.items():
        if name not in state:
            return f"there is no place for {name}"
        tensor = state[name]
        shape, expected = tuple(tensor.shape), tuple(found.shape)
        if not tensor.numel() and shape[:1] == (0,) and len(shape) == len(expected):
            shape, expected = shape[1:], expected[1:]
        if shape != expected:
            return f"{name} is {tuple(tensor.shape)} by the config, {found.shape} in the file"
        if _kind(tensor) != found.kind:
            return f"{name} is {tensor.dtype} by the config, {found.kind} in the file"
    held = {id(state[name]) for name in weights}
    if missing := next((name for name, t in state.items() if id(t) not in held), None):
        return f"{missing} is missing"
    unsaved = sum(t.numel() * t.element_size() for n, t in model.named_buffers() if n not in state)
    if unsaved > UNSAVED:
        return f"it would take {unsaved / 2**30:.0f} GiB beside its weights"
    return _way_through(model)


def _way_through(model: Any) -> str | None:
    """Says why a signal cannot pass through an autoencoder on the meta device; None if it can.

    Sizes that the weights do not show, such as that of the signal, must fit as well.
    """
    encoder, decoder = getattr(model, "encoder", None), getattr(model, "decoder", None)
    parts = (encoder, decoder, getattr(encoder, "inner", None), getattr(decoder, "inner", None))
    if encoder is None or decoder is None or not all(map(_is_smaltis, parts)):
        return None
    signal, factor, likelihood = model.signal, model.downsampling, model.likelihood
    normalization = getattr(model, "normalization", None)
    size = [-(-length // factor) * factor for length in signal.size]
    size = size or [2 * factor] * signal.spatial_dims
    try:
        channels = normalization.channels(signal.channels) if normalization else signal.channels
        z = encoder(torch.empty(1, channels, *size, device="meta"))
        dim = getattr(getattr(model, "quantizer", None), "dim", None)
        inside = (decoder.dim if dim is None else dim, *z.shape[2:])
        h = decoder(torch.empty(1, *inside, device="meta"))
        wanted = channels if likelihood is None else likelihood.channels(channels)
    except Exception as error:  # torch's, about shapes
        return f"no signal {signal.channels, *size} can go through it: {first_line(error)}"
    if dim is not None and z.shape[1] != dim:
        return f"its encoder gives {counted(z.shape[1], 'dimension')}, its quantizer takes {dim}"
    if tuple(h.shape) != (1, wanted, *size):
        return f"its decoder gives {tuple(h.shape[1:])}, its signals are {(wanted, *size)}"
    return None


def _is_smaltis(part: Any) -> bool:
    return part is None or type(part).__module__.partition(".")[0] in ("smalti", "torch")


def _kind_of(dtype: str) -> str:
    """Returns the kind of a type of safetensors, such as BF16."""
    if dtype == "BOOL":
        return "bool"
    return {"F": "float", "B": "float", "C": "complex"}.get(dtype[:1], "int")


def _kind(tensor: Tensor) -> str:
    if tensor.is_floating_point():
        return "float"
    if tensor.is_complex():
        return "complex"
    return "bool" if tensor.dtype == torch.bool else "int"


def first_not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """Returns the name of the first tensor that holds NaN or infinity; `None` if all are finite.

    Example:
        >>> first_not_finite({"a": torch.zeros(2), "b": torch.tensor([0.0, torch.nan])})
        'b'
    """
    numbers = {n: t for n, t in weights.items() if t.is_floating_point() or t.is_complex()}
    # All in one answer: to ask a GPU for each would make it wait each time.
    good = [tensor.isfinite().all() for tensor in numbers.values()]
    if not good or bool(torch.stack(good).all()):
        return None
    return next(name for name, one in zip(numbers, good, strict=True) if not one)
