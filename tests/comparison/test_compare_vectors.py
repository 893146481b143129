"""Methods of several indices head to head on vectors: equal bits, with and without a network."""

from __future__ import annotations

import json
import math
import re
import sys

import numpy as np
import pytest
import torch

from items import items_recipe, write_items
from mistakes import mistake
from smalti import automatic, extras
from smalti.building import build_tokenizer, channels_seen
from smalti.cli import main
from smalti.comparison import (
    METHODS,
    MULTI_CODEBOOK_METHODS,
    default_methods,
    faiss_lsq,
    head_to_head,
)
from smalti.comparison.figures import read_figures
from smalti.comparison.gaussian_bound import gaussian_bound, water_filling
from smalti.comparison.gaussian_source import gaussian_distortion
from smalti.comparison.plan import PlannedRun
from smalti.comparison.recipes import make_run_config
from smalti.errors import InputError
from smalti.recipes import schema
from tiny import clocks_recipe, write_recipe

STEPS = 8
OWN = [name for name in MULTI_CODEBOOK_METHODS if name != "faiss-lsq"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> dict:
    data = write_items(tmp_path_factory.mktemp("items") / "items.parquet")
    return items_recipe(data, "nearest")


@pytest.fixture(scope="module")
def made(recipe, tmp_path_factory):
    """The whole way by the command: a method without a network and one with it; their folder."""
    folder = tmp_path_factory.mktemp("compare")
    file = write_recipe(folder / "small.yaml", recipe)
    words = ["compare", "--recipe", str(file), "--quantizers", "residual-kmeans,rq-vae,qinco"]
    words += ["--budget", str(STEPS), "--bits", "2,3", "--seeds", "1", "--out"]
    assert main([*words, str(folder / "out")]) == 0
    return folder / "out"


def content(folder):
    return json.loads((folder / "comparison.json").read_text(), parse_constant=pytest.fail)


def test_figures_are_those_of_the_reports_and_no_prior_is_learned(made):
    outcomes = content(made)["outcomes"]
    assert [(o["method"], o["bits"]) for o in outcomes] == [
        (name, bits) for bits in (2, 3) for name in ("residual-kmeans", "rq-vae", "qinco")
    ]
    for one in outcomes:
        run = made / f"{one['method']}-{one['bits']}-bits-seed-0"
        figures = json.loads((run / "report.json").read_text())["figures"]
        own = figures["identifiers"]["before"]
        assert (
            one["figures"]["MSE/variance"]
            == (figures["reconstruction"]["mse_over_variance"]["value"])
        )
        assert one["figures"]["unique share"] == own["own_id"]["value"]
        dead = [own[f"dead_{level}"]["value"] for level in (1, 2)]
        assert one["figures"]["dead codewords"] == pytest.approx(sum(dead) / 2)
        assert one["figures"]["recall@10"] == figures["neighbours"]["2"]["recall_at_10"]["value"]
        of_groups = figures["categories"]["group"]["1"]
        assert one["figures"]["purity of the first code, group"] == of_groups["purity"]["value"]
        assert one["figures"]["NMI of the first code, group"] == of_groups["nmi"]["value"]
        assert one["figures"]["seconds"] > 0 and not one["missing"]
        assert not any("prior" in name or "usage" in name for name in one["figures"])
        assert not (run / "prior").exists() and not (run / "ids.parquet").exists()


def test_only_methods_that_are_trained_have_a_curve_and_it_is_drawn(made):
    curves = {one["method"]: one["curve"] for one in content(made)["outcomes"]}
    assert not curves["residual-kmeans"] and curves["rq-vae"] and curves["qinco"]
    text = (made / "comparison.md").read_text()
    for name in ("time", "bits"):
        assert f"({name}.png)" in text and (made / f"{name}.png").stat().st_size > 5_000


def test_where_nothing_is_plotted_that_is_said(recipe, tmp_path, capsys):
    file = write_recipe(tmp_path / "small.yaml", recipe)
    words = ["compare", "--recipe", str(file), "--quantizers", "residual-kmeans", "--bits", "2"]
    assert main([*words, "--seeds", "1", "--out", str(tmp_path / "out")]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "comparison.md; plots are drawn of several rates" in last and "Plots:" not in last
    assert not list((tmp_path / "out").glob("*.png"))


def test_at_equal_bits_the_fitted_codes_are_above_the_bound_of_their_covariance(made):
    found = content(made)
    assert "a Gaussian of the same covariance" in (made / "comparison.md").read_text()
    low, high = (float(found["bound"][str(bits)]) for bits in (2, 3))
    assert 0 < high < low < 1


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize(("bits", "stages"), [(8, 3), (3, 2), (1, 1), (5, 4)])
def test_each_method_builds_at_its_bits(name, bits, stages, recipe):
    config = schema.parsed(recipe)
    chosen = MULTI_CODEBOOK_METHODS[name]
    made = make_run_config(config, chosen, PlannedRun(bits, name, 0), 4, stages, STEPS)
    splits = schema.build(config).data.load()
    if automatic.has_auto_dim(made):
        made = automatic.resolve_dims(made, channels_seen(splits))
    built = schema.build(made).tokenizer
    model = build_tokenizer(built, splits.signal, splits.normalization)
    assert math.prod(model.quantizer.codebook_sizes) == 2 ** (bits * stages)
    assert (built.fitting is None) == (chosen.fitting is None)
    assert (built.training is None) == (chosen.fitting is not None and not chosen.trained_as)
    if built.fitting is not None:
        built.fitting.check(model.quantizer, 2**bits)


def test_implicit_codebooks_are_compared_as_their_recipe_makes_them(recipe):
    qinco = MULTI_CODEBOOK_METHODS["qinco"]
    made = make_run_config(schema.parsed(recipe), qinco, PlannedRun(8, "qinco", 0), 4, 3, STEPS)
    own = schema.read("semantic-ids-qinco").tokenizer
    assert made.tokenizer.fitting.as_dict() == own.fitting.as_dict()
    assert own.fitting.init_args.refine is None  # refined, which the training starts from
    assert made.tokenizer.mixing == own.mixing
    for name in ("hidden", "layers", "training_beam", "beam", "candidates", "prefix_weight"):
        assert made.tokenizer.quantizer.init_args[name] == own.quantizer.init_args[name]


@pytest.mark.parametrize("name", OWN)
def test_each_method_learns_from_data_to_figures(name, recipe, tmp_path):
    (one,) = head_to_head(
        schema.parsed(recipe), [name], bits=[3], seeds=1, steps=STEPS, folder=tmp_path
    ).outcomes
    assert not one.missing and 0 < one.figures["MSE/variance"] < 3
    assert 0 <= one.figures["unique share"] <= 1


def test_without_an_order_what_fits_the_recipe_is_compared():
    names, bits = default_methods(schema.parsed(clocks_recipe()))
    assert bits == 9 and names[:2] == ("ste", "ema")
    names, bits = default_methods(schema.read("semantic-ids-kmeans"))
    assert bits == 8 and {"residual-kmeans", "pq", "opq"} <= {*names} and "rq-vae" not in names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--quantizers", "rq-vae,ema"], "ema has one index per position, got several"),
        (["--quantizers", "rq-vae,rqvae"], "no quantizer 'rqvae' to compare: choose from residual"),
        (["--stages", "0"], "--stages must be at least 1"),
        (["--ids.collisions", "none"], "--ids.collisions has no effect"),
        (["--tokenizer.fitting", "ResidualKMeans"], "--tokenizer.fitting has no effect"),
        (["--stages", "2", "--data", "gaussian"], "leave --stages out"),
    ],
)
def test_mistakes_are_one_line(words, said, recipe, tmp_path, capsys):
    file = write_recipe(tmp_path / "small.yaml", recipe)
    given = ["compare", "--recipe", str(file), "--out", str(tmp_path / "out"), *words]
    assert said in mistake(capsys, *given)
    assert not (tmp_path / "out").exists()


def test_the_help_names_every_method(capsys):
    assert main(["compare", "--help"]) == 0
    unwrapped = re.sub(r"-\s+", "-", capsys.readouterr().out)
    told = set(re.findall(r"[\w-]+", unwrapped))
    assert {*METHODS, *MULTI_CODEBOOK_METHODS} <= told


def test_methods_that_a_recipe_cannot_have_are_refused(recipe, tmp_path):
    data = recipe["data"]["init_args"]["path"]
    fitted = schema.parsed(items_recipe(data, None, fitted=True))
    asked = {"bits": [2], "seeds": 1, "steps": STEPS, "folder": tmp_path / "out"}
    with pytest.raises(InputError, match="rq-vae is trained by gradients, got a recipe whose"):
        head_to_head(fitted, ["residual-kmeans", "rq-vae"], **asked)
    with pytest.raises(InputError, match="residual-kmeans works on vectors without a network"):
        head_to_head(schema.parsed(clocks_recipe()), ["residual-kmeans"], **asked)
    assert not (tmp_path / "out").exists()


# The bound


def test_the_bound_of_equal_variances_is_shannons():
    assert water_filling(torch.ones(128), 8) / 128 == pytest.approx(gaussian_distortion(8))
    assert water_filling(torch.tensor([4.0, 0.0]), 1) == pytest.approx(1.0)


def test_bits_go_where_the_variance_is_and_add_up():
    variances = torch.tensor([9.0, 4.0, 1.0, 0.25, 0.01])
    for bits in (0.5, 3.0, 24.0):
        least = water_filling(variances, bits)
        # θ by bisection, as the definition says it
        low, high = 0.0, 9.0
        for _ in range(200):
            middle = (low + high) / 2
            spent = sum(max(0.0, 0.5 * math.log2(v / middle)) for v in variances.tolist())
            low, high = (middle, high) if spent > bits else (low, middle)
        assert least == pytest.approx(sum(min(high, v) for v in variances.tolist()))
    assert water_filling(variances, 0.0) == pytest.approx(float(variances.sum()))


def test_the_bound_of_a_data_set_is_that_of_its_covariance(recipe):
    splits = schema.build(schema.parsed(recipe)).data.load()
    x = splits.train.__getitems__(range(len(splits.train))).x.double()
    variances = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))
    expected = water_filling(variances, 6) / float(x.var(correction=0) * x.shape[1])
    assert gaussian_bound(splits, 2)(3) == pytest.approx(expected)
    assert gaussian_bound(schema.build(schema.parsed(clocks_recipe())).data.load(), 2) is None


# Places of figures


def test_a_place_may_count_branches_and_what_is_missing_says_why():
    report = {"figures": {"depths": {"1": {"value": 1.0}, "2": {"value": 2.0}}, "none": {}}}
    wanted = {"last": ("depths", -1), "first": ("depths", 0), "third": ("depths", 2)}
    figures, missing = read_figures(report, {**wanted, "other": ("none", 0, "x")})
    assert (figures["last"], figures["first"]) == (2.0, 1.0)
    assert list(missing) == ["third", "other"] and math.isnan(figures["third"])


# faiss


@pytest.mark.parametrize("bits", [1, 3, 5, 8, 9, 12])
def test_packed_indices_are_those_that_were_packed(bits):
    indices = np.random.default_rng(0).integers(2**bits, size=(50, 3))
    flat = (indices[:, :, None] >> np.arange(bits)) & 1
    packed = np.packbits(flat.reshape(50, -1).astype(np.uint8), axis=1, bitorder="little")
    assert (faiss_lsq.unpack_codes(packed, 3, bits) == indices).all()


def test_without_faiss_its_extra_is_named(recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(extras.MissingExtra, match=r"faiss-lsq needs .*smalti\[bench\]"):
        head_to_head(
            schema.parsed(recipe), ["faiss-lsq"], bits=[3], seeds=1, steps=1, folder=tmp_path
        )


@pytest.mark.parametrize("bits", [3, 8])
def test_lsq_of_faiss_is_measured_like_the_others(bits, tmp_path, monkeypatch):
    faiss = pytest.importorskip("faiss")
    data = write_items(tmp_path / "items.parquet", n=700, groups=40)
    config = schema.parsed(items_recipe(data, None))
    folder = tmp_path / "out"
    asked = {"bits": [bits], "seeds": 1, "steps": STEPS, "folder": folder}
    comparison = head_to_head(config, ["faiss-lsq", "residual-kmeans"], **asked)
    lsq, kmeans = comparison.outcomes
    assert not lsq.missing and set(lsq.figures) == set(kmeans.figures)
    splits = schema.build(config).data.load()
    parts = [part.__getitems__(range(len(part))).x.numpy() for part in splits[:3]]
    learned = faiss.LocalSearchQuantizer(parts[0].shape[1], 2, bits)
    learned.random_seed = 0
    learned.train(parts[0])
    test = parts[2]
    error = (
        np.square(test - learned.decode(learned.compute_codes(test))).mean() / test.var(0).mean()
    )
    assert lsq.figures["MSE/variance"] == pytest.approx(error, rel=0.02)
    monkeypatch.setattr(faiss_lsq, "_learned", lambda *_: pytest.fail("learned again"))
    again = head_to_head(config, ["faiss-lsq", "residual-kmeans"], **asked)
    assert again.outcomes == comparison.outcomes
    with pytest.raises(InputError, match="faiss-lsq of another recipe or other data"):
        head_to_head(config, ["faiss-lsq"], stages=3, **asked)
