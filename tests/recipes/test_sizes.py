"""What no machine can hold is refused in one line, before it is made; what may fit is tried."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from smalti import estimates, memory, runs
from smalti.errors import InputError
from smalti.generation.checks import check_batch_memory
from smalti.quantizers import EMACodebook, VectorQuantizer
from smalti.recipes import schema
from smalti.recipes.sizes import check_model_memory, count_bytes
from tiny import clocks_recipe, vae_recipe

ENDLESS = [
    ("tokenizer.training.batch_size", 10**9, "set tokenizer.training.batch_size to less"),
    ("prior.training.batch_size", 10**9, "set prior.training.batch_size to less"),
    ("tokenizer.quantizer.init_args.codebook.init_args.codebook_size", 10**12, "A VectorQuantizer"),
    ("tokenizer.encoder.init_args.hidden", 10**6, "DiscreteAutoencoder"),
    ("tokenizer.encoder.init_args.residual_blocks", 10**6, "1000, got 1000000"),
    ("prior.model.init_args.layers", 10**6, "1000, got 1000000"),
    ("prior.model.init_args.hidden", 10**6, "PixelCNN"),
    ("prior.views", 10**6, "10000, got 1000000"),
    ("data.init_args.length", 10**8, "set of 100,000,000 clocks"),
    ("evaluation.samples", 10**9, "set evaluation.samples to less"),
]


def _set(recipe: dict, place: str, value: object) -> dict:
    node = recipe
    *above, last = place.split(".")
    for name in above:
        node = node.setdefault(name, {})
    node[last] = value
    return recipe


@pytest.mark.parametrize(("place", "value", "said"), ENDLESS)
def test_of_a_recipe(tmp_path, monkeypatch, place, value, said):
    for module in (
        "smalti.memory.available_memory",
        "smalti.estimates.available_memory",
    ):  # whichever machine this is
        monkeypatch.setattr(module, lambda: 32 * 10**9)
    start = time.monotonic()
    with pytest.raises(InputError) as told:
        runs.fit(schema.parsed(_set(clocks_recipe(), place, value)), tmp_path / "run")
    assert said in str(told.value)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()
    assert time.monotonic() - start < 20


def test_of_endless_data(tmp_path):
    recipe = _set(clocks_recipe(), "data.init_args.length", None)
    with pytest.raises(InputError, match="set prior.examples or prior.views to less"):
        runs.fit(schema.parsed(_set(recipe, "prior.examples", 10**12)), tmp_path / "run")


def test_of_a_continuous_model(tmp_path):
    for place in ("autoencoder.training.batch_size", "autoencoder.encoder.init_args.hidden"):
        with pytest.raises(InputError, match="memory"):
            runs.fit(
                schema.parsed(_set(vae_recipe(), place, 10**6 * 1000 ** ("b" in place))),
                tmp_path / "run",
            )


def test_what_a_step_keeps_is_what_autograd_keeps():
    model = torch.nn.Sequential(torch.nn.Linear(10, 20, bias=False), torch.nn.Tanh())
    x = torch.ones(3, 10)
    kept = estimates.count_activation_bytes(lambda: model(x), model)
    assert kept == 4 * (3 * 10 + 3 * 20)  # x and the result of tanh, not the weights
    twice = torch.ones(6, 10)
    assert estimates.count_activation_bytes(lambda: model(twice), model) == 2 * kept


def test_a_codebook_is_weighed_without_being_made():
    small = VectorQuantizer(EMACodebook(codebook_size=64, dim=8))
    assert count_bytes(small) >= 4 * 64 * 8
    with pytest.raises(InputError, match="VectorQuantizer of such sizes needs at least"):
        check_model_memory(
            lambda: {"quantizer": VectorQuantizer(EMACodebook(codebook_size=10**12, dim=64))}
        )
    check_model_memory(lambda: 1 / 0)  # what is wrong otherwise shows when it is built


def test_the_limit_of_a_container_and_of_a_shell(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    whole = memory.available_memory()
    (tmp_path / "memory.max").write_text("1000000\n")
    assert memory.available_memory() == 10**6
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_memory() == whole
    with pytest.raises(InputError, match="needs at least 1 PB of disk"):
        memory.check_disk(1e15, tmp_path / "not" / "yet", "A", "b")
    memory.check_disk(1, Path("not/yet"), "A", "b")


def test_samples_and_steps():
    with pytest.raises(InputError, match=r"^A batch of 1,000,000,000 samples needs .*make fewer"):
        check_batch_memory(10**9, 3 * 64 * 64, "samples")
    check_batch_memory(16, 3 * 64 * 64, "samples")
