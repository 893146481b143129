"""The quantizer works in a plain PyTorch loop, as its example shows, without Lightning."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "quantizer_in_your_loop.py"

PROGRAM = f"""
import runpy, sys
history, error, usage = runpy.run_path({str(EXAMPLE)!r})["main"]()
assert history[-1] < history[0] / 50, history
assert error < 0.05, error
assert usage == 1, usage
assert not any(name.split(".")[0] == "lightning" for name in sys.modules)
"""


def test_the_example_learns_with_the_whole_codebook_and_without_lightning():
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # tests may run side by side
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=alone)
    assert done.returncode == 0, done.stderr
    assert "usage 100%" in done.stdout and "step 400" in done.stdout
