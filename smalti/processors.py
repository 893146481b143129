"""What the processor does well."""

import torch

__all__ = ["fast_in_bfloat16"]


def fast_in_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16 faster than in float32."""
    able = torch.cpu.get_capabilities()
    # Intel's avx512_bf16, where there is no AMX, is slower than its float32.
    amd = "AMD" in str(able.get("cpu_name"))
    return bool(able.get("amx_bf16") or (able.get("avx512_bf16") and amd))
