"""Checks that the models of a recipe fit in memory, before they are built.

It is built without memory first, on torch's device "meta": codebooks of a size that no machine has
are refused for their size, in one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from smalti.memory import check_memory

__all__ = ["count_bytes", "check_model_memory"]


def check_model_memory(build: Callable[[], Any]) -> None:
    """Checks that the models that `build` makes fit in memory, without building them.

    Raises:
        InputError: If they do not.
    """
    parts = None
    with suppress(Exception), torch.device("meta"):  # what else is wrong shows when it is built
        parts = build()
    modules = list(_modules(parts))
    for module in modules:
        size = count_bytes(module)
        check_memory(size, f"A {type(module).__name__} of such sizes", "choose smaller sizes")
    check_memory(sum(map(count_bytes, modules)), "What the recipe names", "choose smaller sizes")


def count_bytes(model: nn.Module) -> int:
    """Counts the bytes of a model's weights and buffers."""
    return sum(
        weights.numel() * weights.element_size()
        for weights in (*model.parameters(), *model.buffers())
    )


def _modules(part: Any) -> Iterator[nn.Module]:
    """Yields the models among the fields of a recipe's parts."""
    if isinstance(part, nn.Module):
        yield part
    elif isinstance(part, dict):
        yield from _modules(list(part.values()))
    elif isinstance(part, list | tuple):
        for item in part:
            yield from _modules(item)
    elif hasattr(part, "__dataclass_fields__"):
        yield from _modules([getattr(part, name) for name in part.__dataclass_fields__])
