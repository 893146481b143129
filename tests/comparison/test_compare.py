"""Quantizers head to head: the same for all but the quantizer, and what is done stays done."""

from __future__ import annotations

import json
import logging
import math
import shutil
import sys

import pytest
import torch
import yaml
from jsonargparse import Namespace

from mistakes import mistake
from smalti import runs
from smalti.building import build_tokenizer
from smalti.cli import main
from smalti.comparison import METHODS, Comparison, Outcome, compare_on_gaussian, head_to_head
from smalti.comparison.gaussian_source import gaussian_distortion
from smalti.errors import InputError
from smalti.quantizers import VectorQuantizer
from smalti.recipes import schema
from tiny import clocks_recipe, write_recipe

STEPS = 8


def tiny_recipe() -> Namespace:
    """Clocks of 16 px, with what a comparison replaces left as it is."""
    return schema.parsed(clocks_recipe())


def tokenizer_alone() -> dict:
    """The fields of the same recipe without a prior, and little in the report."""
    fields = clocks_recipe()
    del fields["prior"]
    return {**fields, "evaluation": {"samples": 8, "classifier_steps": 0, "feature_steps": 0}}


def compared(folder, methods, bits=(3,), seeds=1) -> Comparison:
    return head_to_head(tiny_recipe(), methods, bits=bits, seeds=seeds, steps=STEPS, folder=folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two methods at two rates with two seeds, and their folder."""
    folder = tmp_path_factory.mktemp("compare")
    return compared(folder, ["ema", "fsq"], bits=(3, 4), seeds=2), folder


def outcome(method: str, bits: int, seed: int, mse: float) -> Outcome:
    return Outcome(method, bits, seed, {"MSE": mse, "usage": 1.0}, [(1, 0.5, 2 * mse), (2, 1, mse)])


def test_there_is_a_run_and_an_outcome_for_each(made):
    comparison, folder = made
    assert [(o.bits, o.seed, o.method) for o in comparison.outcomes] == [
        (bits, seed, name) for bits in (3, 4) for seed in (0, 1) for name in ("ema", "fsq")
    ]
    for one in comparison.outcomes:
        run = folder / f"{one.method}-{one.bits}-bits-seed-{one.seed}"
        report = json.loads((run / "report.json").read_text())["figures"]
        assert one.figures["MSE/variance"] == report["reconstruction"]["mse_over_variance"]["value"]
        assert one.figures["prior, nats per index"] > 0
        assert 1 <= one.figures["perplexity"] <= 2**one.bits
        assert one.curve[-1][0] >= STEPS - 1 and one.curve[-1][1] <= one.figures["seconds"]


def test_runs_differ_in_nothing_but_the_quantizer_and_its_weights_of_losses(made):
    _, folder = made
    ema, fsq = (
        yaml.safe_load((folder / f"{name}-3-bits-seed-1" / "config.yaml").read_text())
        for name in ("ema", "fsq")
    )
    assert ema["tokenizer"].pop("quantizer") != fsq["tokenizer"].pop("quantizer")
    for config in (ema, fsq):
        config["tokenizer"].pop("loss_weights", None)
    assert ema == fsq


def test_the_networks_start_from_the_same_weights():
    weights = []
    for name in ("ema", "gumbel", "fsq"):
        fields = clocks_recipe()
        fields["tokenizer"]["quantizer"] = METHODS[name].quantizer(3, 8, STEPS)
        recipe = schema.build(schema.parsed(fields))
        torch.manual_seed(recipe.seed)
        tokenizer = build_tokenizer(recipe.tokenizer, recipe.data.load().signal)
        weights.append([*tokenizer.encoder.parameters(), *tokenizer.decoder.parameters()])
    for others in zip(*weights, strict=True):
        assert all(torch.equal(others[0], other) for other in others)


def test_what_is_done_is_not_done_again(made, monkeypatch):
    comparison, folder = made
    monkeypatch.setattr(runs, "fit", lambda *_: pytest.fail("trained again"))
    again = compared(folder, ["ema", "fsq"], bits=(3, 4), seeds=2)
    assert again.outcomes == comparison.outcomes


@pytest.mark.parametrize("name", METHODS)
def test_each_method_trains_at_its_rate(name, tmp_path):
    recipe = schema.parsed(tokenizer_alone())
    (one,) = head_to_head(recipe, [name], bits=(3,), seeds=1, steps=STEPS, folder=tmp_path).outcomes
    assert math.isfinite(one.figures["MSE/variance"])
    recipe = schema.build(schema.read(str(tmp_path / f"{name}-3-bits-seed-0" / "config.yaml")))
    quantizer = recipe.tokenizer.quantizer
    assert quantizer.codebook_sizes == (8,) and quantizer.dim == 8
    if isinstance(quantizer, VectorQuantizer):
        assert quantizer.dead_code_reset.stop_after == 4 * STEPS // 5


@pytest.mark.parametrize("bits", [1, 2, 5, 9, 10])
def test_every_method_has_as_many_codewords_as_the_rate_allows(bits):
    for chosen in METHODS.values():
        fields = tokenizer_alone()
        fields["tokenizer"]["quantizer"] = chosen.quantizer(bits, 8, STEPS)
        quantizer = schema.build(schema.parsed(fields)).tokenizer.quantizer
        assert math.prod(quantizer.codebook_sizes) == 2**bits


# Vectors of N(0, I)


def test_no_method_passes_the_bound_and_codebooks_come_near():
    comparison = compare_on_gaussian(list(METHODS), bits=[6], seeds=1, steps=20)
    found = {one.method: one.figures["MSE per dimension"] for one in comparison.outcomes}
    assert all(value > gaussian_distortion(6) for value in found.values())
    assert max(found["ema"], found["ste"], found["nsvq"]) < 1  # 1 is what a single codeword has
    assert all(len(one.curve) == 20 for one in comparison.outcomes)


def test_on_gaussian_vectors_dead_codewords_live_again():
    (outcome,) = compare_on_gaussian(["ste"], bits=[6], seeds=1, steps=400).outcomes
    assert outcome.figures["usage"] > 0.9


def test_the_gaussian_comparison_repeats_itself():
    first, second = (
        compare_on_gaussian(["ema", "nsvq"], bits=[4], seeds=2, steps=5) for _ in range(2)
    )
    for one, other in zip(first.outcomes, second.outcomes, strict=True):
        assert one.figures["MSE per dimension"] == other.figures["MSE per dimension"]
        assert one.figures["perplexity"] == other.figures["perplexity"]
    assert first.outcomes[0].figures != first.outcomes[2].figures  # another seed


# Table and plots


def test_the_table_has_mean_and_deviation_the_best_first():
    outcomes = [
        outcome(name, 4, seed, mse)
        for name, values in {"ste": (0.30, 0.34), "ema": (0.20, 0.20)}.items()
        for seed, mse in enumerate(values)
    ]
    table = Comparison("Toy", "MSE", "loss", outcomes, lambda bits: 1 / bits).table()
    assert table.splitlines() == [
        "Toy; mean ± standard deviation over 2 seeds.",
        "",
        "| quantizer | bits | MSE | usage |",
        "|---|---|---|---|",
        "| ema | 4 | 0.2 ± 0 | 1 ± 0 |",
        "| ste | 4 | 0.320 ± 0.028 | 1 ± 0 |",
        "| *no quantizer can do better* | 4 | 0.25 |  |",
    ]


@pytest.mark.parametrize("limit", [None, lambda bits: 1 / bits])
def test_what_is_saved_is_all_there(limit, tmp_path):
    outcomes = [outcome(name, bits, 0, 1 / bits) for name in METHODS for bits in (4, 8)]
    Comparison("Toy", "MSE", "loss", outcomes, limit).save(tmp_path / "out")
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert len(content["outcomes"]) == 2 * len(METHODS)
    text = (tmp_path / "out" / "comparison.md").read_text()
    for name in ("time", "bits"):
        assert f"({name}.png)" in text
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 5_000


def test_one_rate_has_no_plot_over_bits_and_leaves_none_behind(tmp_path):
    for rates in ((4, 8), (4,)):
        outcomes = [outcome("ste", bits, 0, 1 / bits) for bits in rates]
        Comparison("Toy", "MSE", "loss", outcomes).save(tmp_path)
        assert (tmp_path / "bits.png").exists() == (len(rates) > 1)
    assert "bits.png" not in (tmp_path / "comparison.md").read_text()


# The command


def test_the_command_writes_the_comparison(tmp_path, capsys):
    recipe = write_recipe(tmp_path / "small.yaml", clocks_recipe())
    words = ["compare", "--recipe", str(recipe), "--quantizers", "ema,lfq", "--seeds", "1"]
    words += ["--budget", str(STEPS), "--bits", "3", "--out", str(tmp_path / "out")]
    words += ["--tokenizer.encoder.hidden", "6"]
    assert main(words) == 0
    assert "| ema | 3 |" in capsys.readouterr().out
    for name in ("comparison.md", "comparison.json", "time.png"):
        assert (tmp_path / "out" / name).is_file()
    config = (tmp_path / "out" / "ema-3-bits-seed-0" / "config.yaml").read_text()
    assert yaml.safe_load(config)["tokenizer"]["encoder"]["init_args"]["hidden"] == 6
    assert "another" in mistake(capsys, *words, "--budget", str(STEPS + 2))


def test_the_command_compares_on_vectors_and_says_where_it_is(tmp_path, capsys, caplog):
    words = "compare --data gaussian --quantizers ema --seeds 2 --budget 4".split()
    caplog.set_level(logging.INFO, "smalti")
    assert main([*words, "--bits", "3", "--out", str(tmp_path / "out")]) == 0
    assert "*no quantizer can do better*" in capsys.readouterr().out
    assert caplog.messages == ["1 of 2: ema, 3 bits, seed 0", "2 of 2: ema, 3 bits, seed 1"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "gaussian", "--quantizers", "ema,kmeans"], "no quantizer 'kmeans'"),
        (["--data", "gaussian", "--quantizers", ""], "no quantizer ''"),
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--budget", "-5"], "--budget must be at least 1"),
        (["--bits", "nine"], "--bits takes whole numbers"),
        (["--bits", "20"], "--bits takes whole numbers"),
        (["--data", "gaussian", "--seed", "1"], "--help"),
        (["--data", "gaussian", "--tokenizer.training.steps", "9"], "has no recipe"),
        (
            ["--tokenizer.training.steps", "9"],
            "has no effect, smalti compare sets it: give --budget",
        ),
        (["--tokenizer.quantizer.codebook.codebook_size=9"], "give --quantizers and --bits"),
        (["--prior.training.steps", "9"], "--prior.training.steps has no effect"),
        (["--data", ""], "--data is empty"),
        (["--recipe", "nothing"], "nothing"),
        (["--recipe", "vae-fashion-mnist"], "the recipe of a continuous autoencoder"),
        (["--recipe", "hierarchical64", "--data", "x"], "the recipe of one with 2: choose"),
        ([], "--data"),
    ],
)
def test_mistakes_are_one_line(words, said, tmp_path, capsys):
    assert said in mistake(capsys, "compare", *words, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


# What fails


def test_a_run_that_fails_is_a_line_and_the_others_are_compared(tmp_path, monkeypatch):
    fit = runs.fit

    def fails_once(config, folder, splits):
        if "fsq" in folder.name:
            raise InputError("The training has diverged: lower the learning rate.")
        return fit(config, folder, splits)

    monkeypatch.setattr(runs, "fit", fails_once)
    comparison = compared(tmp_path, ["fsq", "ema"])
    assert "has diverged" in comparison.table()
    assert "| fsq | 3 | – |" in comparison.table()
    assert comparison.table().index("| ema |") < comparison.table().index("| fsq |")
    comparison.save(tmp_path / "out")
    content = json.loads(
        (tmp_path / "out" / "comparison.json").read_text(), parse_constant=pytest.fail
    )
    assert content["outcomes"][0]["figures"]["PSNR, dB"] is None
    assert "diverged" in content["outcomes"][0]["missing"]["PSNR, dB"]
    assert content["outcomes"][1]["figures"]["PSNR, dB"] > 0
    monkeypatch.setattr(runs, "fit", fit)
    assert all(not one.missing for one in compared(tmp_path, ["fsq", "ema"]).outcomes)
    with pytest.raises(InputError, match="Nothing could be compared"):
        monkeypatch.setattr(runs, "fit", fails_once)
        compared(tmp_path / "other", ["fsq"])


def test_a_figure_that_a_report_lacks_and_a_log_that_is_gone_are_lines(made, tmp_path):
    _, folder = made
    copied = tmp_path / "compare"
    shutil.copytree(folder, copied)
    file = copied / "ema-3-bits-seed-0" / "report.json"
    report = json.loads(file.read_text())
    report["figures"]["rate"] = {"value": None, "note": "there are no tokens."}
    del report["figures"]["codebook"]["usage"]
    file.write_text(json.dumps(report))
    shutil.rmtree(copied / "fsq-3-bits-seed-1" / "logs")
    comparison = compared(copied, ["ema", "fsq"], bits=(3, 4), seeds=2)
    lines = "\n".join(comparison.missing)
    assert "prior, nats per index of ema, 3 bits, seed 0: there are no tokens." in lines
    assert "usage of ema" in lines
    assert "seconds of fsq, 3 bits, seed 1" in lines
    assert math.isfinite(comparison.outcomes[0].figures["MSE/variance"])
    comparison.save(tmp_path / "out")


def test_curves_of_other_lengths_and_negative_losses_are_drawn(tmp_path):
    outcomes = [outcome("ste", 4, seed, 0.3) for seed in (0, 1)]
    outcomes[1].curve.append((3, 2.0, -0.1))
    outcomes.append(Outcome("ema", 4, 0, {"MSE": math.nan, "usage": 1.0}, []))
    outcomes.append(Outcome("ema", 4, 1, {"MSE": math.inf, "usage": 1.0}, [(1, 0.5, math.nan)]))
    comparison = Comparison("Toy", "MSE", "loss", outcomes)
    comparison.save(tmp_path)
    assert json.loads((tmp_path / "comparison.json").read_text(), parse_constant=pytest.fail)


def test_on_gaussian_vectors_a_method_that_diverges_is_a_line(monkeypatch):

    learned = sys.modules[compare_on_gaussian.__module__]._learned

    def fails(chosen, bits, seed, steps):
        if chosen is METHODS["lfq"]:
            raise InputError("The training of it has diverged: leave the method out.")
        return learned(chosen, bits, seed, steps)

    monkeypatch.setattr(sys.modules[compare_on_gaussian.__module__], "_learned", fails)
    comparison = compare_on_gaussian(["lfq", "ema"], bits=[3], seeds=1, steps=4)
    assert "Not measured: lfq, 3 bits, seed 0" in comparison.table()
    with pytest.raises(InputError, match="diverged"):
        compare_on_gaussian(["lfq"], bits=[3], seeds=1, steps=4)
