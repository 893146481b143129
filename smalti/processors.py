"""Tells which operations are fast on this CPU."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

__all__ = ["fast_in_bfloat16", "fused_linear"]


@cache
def fused_linear(dtype: torch.dtype = torch.float32) -> Callable[..., Tensor] | None:
    """Returns oneDNN's fused matrix product with bias and ReLU; None where it is missing.

    The operation is private to torch, so it is tried out once for each type.

    Arguments:
        dtype: Type of vectors and codewords; the offset is float32.
    """
    if not torch.backends.mkldnn.is_available():
        return None
    ones = torch.ones(2, 8, dtype=dtype, device="cpu")
    offset = torch.tensor([1.0, -9.0], dtype=torch.float32, device="cpu")
    try:
        linear = torch.ops.mkldnn._linear_pointwise
        scores = linear(ones, ones, offset, "relu", [], "")
    except (AttributeError, RuntimeError):
        return None
    return linear if scores.tolist() == [[9.0, 0.0], [9.0, 0.0]] else None


def fast_in_bfloat16() -> bool:
    """Returns whether the CPU multiplies in bfloat16 faster than in float32; False if unknown."""
    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch
        return False
    able = torch.cpu.get_capabilities()
    # Intel's avx512_bf16, where there is no AMX, is slower than its float32.
    amd = "AMD" in str(able.get("cpu_name"))
    return bool(able.get("amx_bf16") or (able.get("avx512_bf16") and amd))
