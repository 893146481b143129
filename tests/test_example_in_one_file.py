"""The example of a whole VQ-VAE in one file runs as its first lines say, and learns."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

EXAMPLE = Path(__file__).parents[1] / "examples" / "vq_vae_in_one_file.py"
SMALL = ["--hidden", "24", "--width", "48", "--layers", "2", "--prior_batch", "16"]


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(EXAMPLE), *options]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # tests may run side by side
    return subprocess.run(
        command, cwd=folder, env=alone, capture_output=True, text=True, timeout=300
    )


def figures(line: str) -> dict[str, float]:
    pairs = [pair.split() for pair in line.partition(" →")[0].split(", ")]
    return {name: float(value) for name, value in pairs}


def test_it_learns_tokens_and_a_prior_from_data_that_it_draws(tmp_path):
    done = run(tmp_path, *SMALL, "--steps", "150", "--prior_steps", "80", "--per_label", "2")
    assert done.returncode == 0, done.stderr
    found = figures(done.stdout.splitlines()[-1])
    assert found["mse_over_variance"] < 0.65, found  # 1 for what says nothing about the picture
    assert 0.02 < found["usage"] <= 1, found
    assert found["nats_per_index"] < 5.1, found  # log 256 = 5.55 for what knows nothing
    with Image.open(tmp_path / "samples.png") as sheet:  # 2 columns, 5 rows of 32 px, three times
        assert sheet.size == (2 * 96, 5 * 96)
        assert np.asarray(sheet).std() > 10


def test_it_takes_pictures_of_ones_own_and_says_what_does_not_fit(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "own.npy", rng.integers(0, 256, (60, 16, 12, 1), dtype=np.uint8))
    few = ["--steps", "3", "--prior_steps", "2", "--batch_size", "8", "--codebook_size", "8"]
    done = run(tmp_path, "--data", "own.npy", *SMALL, *few)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "samples.png").is_file()
    np.save(tmp_path / "odd.npy", rng.random((60, 15, 12, 1)))
    done = run(tmp_path, "--data", "odd.npy")
    assert done.returncode == 1
    assert "multiples of 4" in done.stderr and "Traceback" not in done.stderr
