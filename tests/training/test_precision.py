"""Precision "auto": bfloat16 where the device is faster in it, and only there."""

from __future__ import annotations

import pytest
import torch

from smalti.training import Hardware
from smalti.training.trainer import _precision


@pytest.mark.parametrize(
    ("hardware", "cuda", "cpu", "precision"),
    [
        (Hardware(), None, {"avx512_bf16": True, "cpu_name": "AMD EPYC 9654"}, "bf16-mixed"),
        (Hardware(), None, {"avx512_bf16": True, "cpu_name": "Intel Xeon"}, "32-true"),
        (Hardware(accelerator="cpu"), True, {"amx_bf16": True}, "bf16-mixed"),
        (Hardware(accelerator="cpu"), True, {"avx2": True}, "32-true"),
        (Hardware(), None, {}, "32-true"),
        (Hardware(), True, {}, "bf16-mixed"),
        (Hardware(accelerator="gpu"), False, {"amx_bf16": True}, "32-true"),
        (Hardware(accelerator="mps"), None, {"amx_bf16": True}, "32-true"),
        (Hardware(precision="16-mixed"), True, {}, "16-mixed"),
    ],
)
def test_auto_is_what_the_device_is_faster_in(monkeypatch, hardware, cuda, cpu, precision):
    """`cuda` says whether a GPU that is there computes in bfloat16; None: there is no GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bool(cuda))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu, raising=False)
    assert _precision(hardware) == precision
