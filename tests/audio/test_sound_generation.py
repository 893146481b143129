"""New sounds of two levels: of a label, from a beginning, the same under a seed."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import soundfile
import torch

from mistakes import mistake
from smalti import load
from smalti.building import build_tokenizer
from smalti.cli import main
from smalti.conditions import CoarseTokens, Label, OptionalCondition
from smalti.generation import Model
from smalti.modalities.audio import Sound
from smalti.networks import SEANetEncoder
from smalti.priors import TransformerPrior, cascade_of
from smalti.quantizers import EMACodebook, ResidualQuantizer, VectorQuantizer
from smalti.recipes.fields import FineLevel, TokenizerRecipe, Training
from tiny import clocks_recipe, write_recipe

RATE, SIZE, GAP = 8000, 420, 2000
STRIDES = [5, 7, 3]  # 4 positions of 105 samples, 12 of 35


def quantizer() -> VectorQuantizer:
    return VectorQuantizer(EMACodebook(codebook_size=8, dim=6))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of sounds that was not trained: two levels, and a prior for each."""
    torch.manual_seed(0)
    recipe = TokenizerRecipe(
        quantizer(),
        Training(steps=1),
        encoder=partial(SEANetEncoder, hidden=4, strides=STRIDES, kernel_sizes=(3, 1)),
        fine_levels=[FineLevel(ResidualQuantizer([quantizer(), quantizer()]), 35)],
    )
    tokenizer = build_tokenizer(recipe, Sound(1, RATE, (SIZE,)))
    label = OptionalCondition(Label(["low", "high"]), 0.1)
    above = CoarseTokens([8], [(4,)], label)
    sizes = {"hidden": 8, "layers": 1, "heads": 2}
    priors = [
        TransformerPrior(8, (4,), label, **sizes),
        TransformerPrior([8, 8], (12, 2), above, pattern="delayed", **sizes),
    ]
    made = tmp_path_factory.mktemp("model") / "model"
    Model(tokenizer.eval(), cascade_of(priors).eval()).save(made)
    recipe = clocks_recipe()
    recipe["data"] = {"class_path": "Sounds", "init_args": {"path": "sounds", "rate": RATE}}
    write_recipe(made / "config.yaml", recipe)  # which makes a run of it
    return made


def heard(path) -> np.ndarray:
    x, rate = soundfile.read(path)
    assert rate == RATE
    return x


def test_samples_of_a_label_are_as_long_as_asked_and_the_same_under_a_seed(folder, tmp_path):
    words = ["sample", str(folder), "--label", "high", "--n", "3", "--guidance", "2"]
    made = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main([*words, "--seed", seed, "--out", f"{tmp_path}/{name}.wav"]) == 0
        made.append(heard(tmp_path / f"{name}.wav"))
    assert len(made[0]) == 3 * SIZE + 2 * GAP
    np.testing.assert_array_equal(made[0], made[1])
    assert np.abs(made[0] - made[2]).max() > 1e-3


def test_a_beginning_is_kept_at_every_level_and_the_rest_is_drawn(folder, tmp_path):
    model, begin = load(folder), tmp_path / "begin.wav"
    t = np.arange(315) / RATE  # three of the four positions
    soundfile.write(begin, 0.4 * np.sin(2 * np.pi * 500 * t), RATE)
    words = ["sample", str(folder), "--complete", str(begin), "--label", "low", "--seed", "0"]
    assert main([*words, "--n", "2", "--out", f"{tmp_path}/on.wav"]) == 0
    made = heard(tmp_path / "on.wav")
    assert len(made) == 2 * SIZE + GAP
    first, second = made[:SIZE], made[SIZE + GAP :]
    x = torch.zeros(1, 1, SIZE)
    x[0, 0, :315] = torch.from_numpy(heard(begin)).float()
    coded = model.reconstruct(x)[0, 0].numpy()
    for one in (first, second):  # what depends on kept indices alone
        np.testing.assert_allclose(one[:100], coded[:100], atol=1e-3)
    assert np.abs(first[315:] - second[315:]).max() > 1e-3


def test_a_beginning_of_another_rate_is_resampled(folder, tmp_path):
    begin = tmp_path / "begin.wav"
    soundfile.write(begin, 0.4 * np.sin(np.arange(500) / 9), 2 * RATE)
    words = ["sample", str(folder), "--complete", str(begin), "--n", "1", "--label", "low"]
    assert main([*words, "--out", f"{tmp_path}/on.wav"]) == 0
    assert len(heard(tmp_path / "on.wav")) == SIZE


def test_what_cannot_be_made_is_one_line(folder, tmp_path, capsys):
    long = tmp_path / "long.wav"
    soundfile.write(long, 0.4 * np.sin(np.arange(2 * SIZE) / 9), RATE)
    out = ["--out", f"{tmp_path}/made.wav"]
    line = mistake(capsys, "sample", str(folder), "--label", "seven", *out)
    assert "seven" in line and "low, high" in line
    words = ["sample", str(folder), "--complete", str(long), "--label", "low"]
    line = mistake(capsys, *words, "--keep", "begin 0.1", *out)
    assert "keep more than nothing and less than all" in line
    line = mistake(capsys, *words, "--keep", "middle", *out)
    assert "keep begin or end" in line
    assert not (tmp_path / "made.wav").exists()
