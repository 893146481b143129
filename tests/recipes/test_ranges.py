"""Numbers that make no sense are refused when the recipe is read, and nothing is written."""

from __future__ import annotations

import dataclasses
import math
from typing import get_args, get_type_hints

import pytest

from mistakes import mistake
from smalti.errors import InputError
from smalti.ranges import Range, check_range, range_of
from smalti.recipes import schema
from tiny import clocks_recipe, vae_recipe, write_recipe

NONSENSE = """
--seed -1
--seed 9223372036854775808
--seed .nan
--tokenizer.training.clip -1
--tokenizer.training.clip 0
--tokenizer.training.clip .nan
--tokenizer.training.optimizer.lr .inf
--tokenizer.training.optimizer.lr -0.1
--tokenizer.training.optimizer.lr nan
--tokenizer.training.optimizer.betas [0.9,1.5]
--tokenizer.training.optimizer.weight_decay -1
--tokenizer.training.steps 0
--tokenizer.training.batch_size 0
--tokenizer.training.accumulate 0
--tokenizer.training.weight_ema 1
--tokenizer.training.save_every 0
--tokenizer.training.validate_every -1
--tokenizer.commitment_weight .nan
--tokenizer.commitment_weight -1
--tokenizer.commitment_warmup -1
--tokenizer.loss_weights {a:\xa0.nan}
--tokenizer.level_dropout 1
--tokenizer.quantizer.codebook.codebook_size 0
--tokenizer.quantizer.codebook.dim -8
--tokenizer.quantizer.codebook.decay .nan
--tokenizer.quantizer.codebook.eps .inf
--tokenizer.quantizer.kmeans_iterations -1
--tokenizer.encoder.hidden 0
--tokenizer.encoder.residual_blocks 1000000
--prior.model.layers 1000000
--prior.model.dropout 1
--prior.model.dropout -0.1
--prior.views 0
--prior.views 1000000
--prior.examples 0
--evaluation.test 0
--evaluation.test -1
--evaluation.samples 0
--evaluation.classifier_steps -1
--evaluation.feature_steps -1
--hardware.workers -1
--hardware.devices x
--hardware.devices 0
--hardware.devices -5
--hardware.devices 0,0
--hardware.devices 1.5
--hardware.num_nodes 0
--hardware.precision 8
--hardware.accelerator frob
--hardware.strategy frob
--data.seed -1
--data.size 0
""".strip().splitlines()


@pytest.mark.parametrize("option", NONSENSE)
def test_of_an_option(tmp_path, option):
    recipe = str(write_recipe(tmp_path / "r.yaml", clocks_recipe()))
    words = [word.replace("\xa0", " ") for word in option.split(" ")]
    with pytest.raises(InputError) as told:
        schema.read(recipe, words)
    assert words[0].removeprefix("--") in str(told.value)
    assert "\n" not in str(told.value)


def test_what_makes_sense_is_taken(tmp_path):
    recipe = str(write_recipe(tmp_path / "r.yaml", clocks_recipe()))
    for option in (
        "--seed=9223372036854775807",
        "--tokenizer.training.clip=1e-3",
        "--tokenizer.training.optimizer.lr=0",
        "--tokenizer.training.steps=1000000000",
        "--prior.model.dropout=0.99",
        "--hardware.devices=auto",
        "--hardware.devices=-1",
        "--hardware.devices=0,1",
        "--hardware.precision=32",
        "--hardware.strategy=ddp",
        "--evaluation.classifier_steps=0",
        "--tokenizer.encoder.residual_blocks=0",
    ):
        schema.read(recipe, [option])


def test_nothing_is_written(tmp_path, capsys):
    recipe = str(write_recipe(tmp_path / "r.yaml", clocks_recipe()))
    out = str(tmp_path / "run")
    for option in ("--hardware.devices=x", "--tokenizer.training.clip=-1", "--evaluation.test=0"):
        mistake(capsys, "fit", recipe, "--out", out, option)
    assert not (tmp_path / "run").exists()


def _numeric_fields(cls, place=""):
    for name, hint in get_type_hints(cls).items():
        where = f"{place}.{name}".lstrip(".")
        kinds = [hint, *get_args(hint)]
        inner = next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)
        if inner:
            yield from _numeric_fields(inner, where)
        elif (int in kinds or float in kinds) and str not in kinds:
            yield where, float if float in kinds else int


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, -math.inf, 10**30])
def test_of_every_number_of_every_recipe(value):
    """No field of a recipe takes -1, NaN, an infinity, or as an integer more than 10^15."""
    fields = {**dict(_numeric_fields(schema.Recipe))}
    assert len(fields) > 30
    for base in (clocks_recipe, vae_recipe):
        for place, kind in fields.items():
            part = place.partition(".")[0]
            if ".fine_levels" in place or (
                part in ("tokenizer", "prior", "autoencoder") and part not in base()
            ):
                continue
            if base is vae_recipe and part in clocks_recipe():
                continue  # refused above
            recipe = base()
            node = recipe
            *above, last = place.split(".")
            for name in above:
                node = node.setdefault(name, {})
            node[last] = value if value == 10**30 or value == -1 else kind(0) + value
            if kind is float and value == 10**30:
                continue
            with pytest.raises(InputError):
                schema.parsed(recipe)


def test_ranges_say_what_they_hold():
    assert 0.0 not in Range(0, above=True)
    assert 1 in Range(0, 1)
    assert 1 not in Range(0, 1, below=True)
    for nothing in (math.nan, math.inf, -math.inf):
        assert nothing not in Range()
    assert 10**400 in range_of("Nothing", "nothing")
    with pytest.raises(InputError, match=r"a is above 0, got nan"):
        check_range("a", [1, math.nan], Range(0, above=True))
    with pytest.raises(InputError, match=r"a\.b is a finite number, got inf"):
        check_range("a", {"b": math.inf}, Range())
    check_range("a", ["word", None, True], Range(5, 6))


# Null


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ("--prior null", "prior"),
        ("--prior=null --prior.fine_levels null", "prior"),
        (
            "--tokenizer.quantizer.dead_code_reset DeadCodeReset "
            "--tokenizer.quantizer.dead_code_reset null",
            "tokenizer.quantizer.init_args.dead_code_reset",
        ),
        (
            "--tokenizer.quantizer.init_args.dead_code_reset ~",
            "tokenizer.quantizer.init_args.dead_code_reset",
        ),
        ("--tokenizer.training.clip 3 --tokenizer.training.clip null", "tokenizer.training.clip"),
        (
            "--tokenizer.training.schedule CosineDecay --tokenizer.training.schedule=null",
            "tokenizer.training.schedule",
        ),
        ("--prior.training.weight_ema null", "prior.training.weight_ema"),
        ("--prior.examples null", "prior.examples"),
        ("--data.length null", "data.init_args.length"),
        ("--tokenizer.likelihood null", "tokenizer.likelihood"),
        ("--tokenizer.loss_weights null", "tokenizer.loss_weights"),
        ("--hardware.loggers null", "hardware.loggers"),
    ],
)
def test_an_option_sets_whatever_may_be_null_to_null(tmp_path, options, place):
    fields = clocks_recipe()
    fields["tokenizer"]["training"]["clip"] = 1.0
    fields["tokenizer"]["quantizer"]["init_args"]["dead_code_reset"] = {
        "class_path": "DeadCodeReset"
    }
    fields["prior"] |= {"examples": 8}
    fields["prior"]["training"] |= {"weight_ema": 0.9}
    recipe = str(write_recipe(tmp_path / "r.yaml", fields))
    assert schema.read(recipe, options.split())[place] is None


def test_the_last_word_counts(tmp_path):
    recipe = str(write_recipe(tmp_path / "r.yaml", clocks_recipe()))
    read = schema.read(recipe, ["--tokenizer.training.clip=null", "--tokenizer.training.clip=2"])
    assert read.tokenizer.training.clip == 2
    again = schema.build(schema.read(recipe, ["--tokenizer.quantizer.dead_code_reset=null"]))
    assert again.tokenizer.quantizer.dead_code_reset is None


@pytest.mark.parametrize(
    "place",
    [
        "seed",
        "data",
        "evaluation",
        "tokenizer.quantizer",
        "prior.training",
        "tokenizer.training.steps",
        "tokenizer.training.optimizer",
        "prior.model",
        "frob",
        "tokenizer.quantizer.codebook.codebook_size",
        "tokenizer.training.clip.x",
    ],
)
def test_what_may_not_be_null_says_so(tmp_path, place):
    recipe = str(write_recipe(tmp_path / "r.yaml", clocks_recipe()))
    with pytest.raises(InputError, match=f"{place} (cannot be null|to set to null)"):
        schema.read(recipe, [f"--{place}", "null"])
