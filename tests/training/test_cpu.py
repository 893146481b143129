"""The settings of the process that keep a CPU fast."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import torch
from smalti.training.cpu import speed_up_cpu
torch.set_num_threads(2)
if sys.argv[1] == "fast":
    speed_up_cpu()
x = torch.full((1 << 20,), 1e-30)
print(int((x * 1e-10).count_nonzero()))
"""


@pytest.mark.parametrize(("settings", "tiny_numbers"), [("fast", 0), ("usual", 1 << 20)])
def test_tiny_numbers_are_zero_in_every_thread(settings, tiny_numbers):
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, settings], capture_output=True, text=True, check=True
    )
    assert int(answer.stdout) == tiny_numbers
