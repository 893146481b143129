"""Keeps buffers in float32, whatever dtype a module is cast to.

`module.half()`, `.bfloat16()` and `.double()` cast all that a module holds. Weights may be cast;
statistics must not. A running mean in bfloat16 stands still as soon as a step of it is below 1/256
of its value, and a sum in float16 overflows at 65,504, which is a thousand vectors of length 65.
"""

from collections.abc import Callable, Collection
from typing import Any, Self

import torch
from torch import Tensor, nn

__all__ = ["ComputesTables", "KeepsFloat32", "compute_tables"]


class KeepsFloat32(nn.Module):
    """A base class of modules of which some buffers stay in float32 when the module is cast.

    Attributes:
        in_float32: The names of these buffers. They also stay so when a state of another dtype is
            loaded.
    """

    in_float32: Collection[str] = ()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Casts as `nn.Module` does, but keeps the buffers of `in_float32` as they are."""
        kept = {name: self._buffers[name] for name in self.in_float32}
        super()._apply(fn, recurse)
        for name, buffer in kept.items():
            cast = self._buffers[name]
            if buffer is not None and cast is not None and cast.dtype != buffer.dtype:
                self._buffers[name] = buffer.to(cast.device)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # With assign=True, what is loaded takes the buffer's place as it is.
        for name in self.in_float32:
            saved = state_dict.get(prefix + name)
            if isinstance(saved, Tensor) and saved.is_floating_point():
                state_dict[prefix + name] = saved.to(torch.float32)
        super()._load_from_state_dict(state_dict, prefix, *args)


class ComputesTables:
    """A mix-in of modules that hold numbers which they computed, such as sines of positions.

    A module that is cast holds those numbers as rounded before. `compute_tables` has them computed
    in another dtype: in float64 two machines agree on them up to 10⁻¹⁶, in float32 up to 10⁻⁷.
    """

    def compute_tables(self, dtype: torch.dtype) -> None:
        """Computes the module's tables in a dtype, in the place of those that it holds."""
        raise NotImplementedError


def compute_tables(model: nn.Module, dtype: torch.dtype) -> None:
    """Has all modules of a model compute their tables in a dtype; see `ComputesTables`."""
    for module in model.modules():
        if isinstance(module, ComputesTables):
            module.compute_tables(dtype)
