"""Coder and decoder agree on all frequencies, however their logits are computed."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from smalti.artifacts import load_model, save_model
from smalti.codec import Codec, LearnedModel
from smalti.codec.frequencies import TOTAL, frequencies_of_steps, to_steps
from smalti.conditions import Conditions, Label, OptionalCondition, TimeOfDay
from smalti.errors import InputError
from smalti.priors import DepthPixelCNN, PixelCNN, PixelSNAIL, TransformerPrior
from walks import large

SEVERAL = Conditions([OptionalCondition(Label(["cat", "dog"])), TimeOfDay()])
PRIORS = {
    "pixelcnn": lambda: PixelCNN(64, (6, 6), SEVERAL, hidden=16, layers=4),
    "pixelsnail": lambda: PixelSNAIL(64, (5, 5), hidden=16, blocks=2, layers=2, heads=2),
    "depth": lambda: DepthPixelCNN(64, (3, 3, 4), hidden=16, layers=3),
    "delayed": lambda: TransformerPrior(
        [64] * 4, (10, 4), SEVERAL, hidden=32, layers=3, heads=2, pattern="delayed"
    ),
}


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    """Priors, and files of 6 grids each."""
    folder = tmp_path_factory.mktemp("coded")
    torch.manual_seed(0)
    tokens = {}
    for name, make in PRIORS.items():
        prior = large(make(), 0.3).float()
        given = None if prior.condition is None else prior.condition.draw(6)
        tokens[name] = prior.sample(6, given)
        save_model(prior, folder / name)
        content = Codec(LearnedModel(prior)).encode(prior.layout.unpack(tokens[name]), given)
        (folder / f"{name}.smt").write_bytes(content)
    return folder, tokens


def test_another_processor_and_other_threads_read_the_same_tokens(coded):
    """Without AVX, without oneDNN and with two threads, logits are others in their last digits."""
    folder, tokens = coded
    script = Path(__file__).with_name("reads_elsewhere.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder), *tokens],
        capture_output=True,
        text=True,
        env={**os.environ, "ATEN_CPU_CAPABILITY": "default", "OMP_WAIT_POLICY": "passive"},
    )
    assert done.returncode == 0, done.stderr
    capability, *lines = done.stdout.splitlines()
    assert capability in ("DEFAULT", "NO AVX")
    told = {name: hashlib.sha256(x.numpy().tobytes()).hexdigest() for name, x in tokens.items()}
    assert dict(line.split() for line in lines) == told


def test_logits_next_to_a_half_are_rounded_alike():
    """Of a million values some lie near a half: a reader whose values differ needs the list."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (2000, 512))
    halves = (np.floor(logits * 64) + 0.5) / 64
    near = rng.random(logits.shape) < 0.01
    logits[near] = halves[near] + rng.uniform(-1e-10, 1e-10, int(near.sum()))
    written = to_steps(logits)
    shown = near & (logits > logits.max(1, keepdims=True) - 20)
    assert written.near[shown].all() and not written.near[~near].any()
    listed = list(zip(*np.nonzero(written.near), strict=True))
    for scale in (1e-12, 1e-10):
        others = logits + rng.uniform(-scale, scale, logits.shape)
        again = frequencies_of_steps(to_steps(others, listed).values)
        assert np.array_equal(again, frequencies_of_steps(written.values))
        alone = frequencies_of_steps(to_steps(others, []).values)
        assert not np.array_equal(alone, frequencies_of_steps(written.values))


@pytest.mark.parametrize("size", [1, 2, 17, 1024, 65_536])
def test_frequencies_are_whole_sum_up_and_are_near_the_probabilities(size):
    rng = np.random.default_rng(size)
    logits = rng.normal(0, 4, (5, size))
    f = frequencies_of_steps(to_steps(logits).values).astype(np.float64) + 1
    assert (f >= 1).all() and (f.sum(1) == TOTAL).all() and (f == np.floor(f)).all()
    p = torch.from_numpy(logits).softmax(1).numpy()
    cost = (p * np.log(p / (f / TOTAL))).sum(1)
    assert (cost <= 3e-5 + size / TOTAL).all()


def test_a_writer_and_a_reader_far_apart_give_a_line_and_no_wrong_tokens(coded, monkeypatch):
    folder, _ = coded
    prior = load_model(folder / "delayed")
    codec = Codec(LearnedModel(prior))
    content = (folder / "delayed.smt").read_bytes()
    codec.decode_all(content)
    start = type(codec.model.prior).start

    def noisy(self, batch, context=None):
        stepper = start(self, batch, context)
        logits = stepper.logits
        stepper.logits = lambda: logits() + 1e-4 * torch.randn(1, dtype=torch.float64)
        return stepper

    monkeypatch.setattr(type(codec.model.prior), "start", noisy)
    with pytest.raises(InputError, match="its tokens are not those that were written"):
        codec.decode_all(content)
    tokens = prior.sample(4, prior.condition.draw(4))
    monkeypatch.setattr(type(codec.model.prior), "start", noisy)
    with pytest.raises(InputError, match="is not read alike"):
        codec.encode(tokens, prior.condition.draw(4))
