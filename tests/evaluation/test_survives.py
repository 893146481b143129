"""What cannot be measured is a line in the report, and the report is there all the same."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
import torch
from test_report import Page
from tiny_models import LABELS, Given, Stripes, tiny_histogram, tiny_model, tiny_splits

from small_autoencoders import assemble
from smalti.autoencoders import DiscreteAutoencoder
from smalti.conditions import Label, TimeOfDay
from smalti.errors import InputError
from smalti.evaluation import Limits, Report, evaluate
from smalti.evaluation.measurements import codebook_usage
from smalti.generation import Model
from smalti.modalities.image import Image
from smalti.networks import ConvDecoder, ConvEncoder, Features
from smalti.priors import GaussianPrior, Histogram, PixelCNN
from smalti.quantizers import EMACodebook, LookupFreeQuantizer, VectorQuantizer
from smalti.reporting.figures import is_figure
from smalti.synthetic import MEASUREMENTS

LIMITS = Limits(
    samples=12, classifier_steps=3, feature_steps=2, shown=4, batch_size=10, downloaded=False
)


def check(report):
    """A whole page and strict JSON, in which what is null says why; nothing failed unforeseen."""
    assert report.failed == []
    text = " ".join(" ".join(Page(report.to_html()).texts).split())
    for name, why in report.missing.items():
        assert f"{name} not computed: {' '.join(why.split())}" in text
    content = json.loads(report.to_json(), parse_constant=pytest.fail)

    def visit(branch):
        if is_figure(branch):
            assert branch["value"] is not None or branch["note"]
        else:
            for inner in branch.values():
                visit(inner)

    visit(content["figures"])
    return content


def labelled(n, shares, seed=0):
    """n images, and labels in the order of `shares`."""
    kinds = torch.tensor([label for label, count in enumerate(shares) for _ in range(count)])
    assert len(kinds) == n
    return Given(Stripes(n, 16, None, seed).x, kinds)


@pytest.mark.parametrize("unseen", ["every label", "some labels"])
def test_labels_without_training_images_cost_the_histogram_alone(unseen):
    names = [f"label {i}" for i in range(40)]
    label = Label(names)
    train, test = [1] * 20 + [0] * 20, [0] * 20 + [1] * 20
    if unseen == "some labels":
        train, test = [20, 20] + [0] * 38, [10, 10] + [1] * 38
    splits = tiny_splits()._replace(
        train=labelled(sum(train), train), test=labelled(sum(test), test, 1), condition=label
    )
    model = tiny_model(label)
    report = evaluate(model, splits, tiny_histogram(model, splits, label), limits=LIMITS)
    content = check(report)
    assert "label" in report.missing["Picture of samples of the histogram"]
    assert content["figures"]["frechet"]["histogram"]["value"] is None
    assert set(report.figures["frechet"]) == {"train", "reconstructions", "uniform", "prior"}
    # A grid below a label that was never seen costs what the uniform code takes.
    assert report.figures["rate"]["histogram"]["nats_per_image"]["value"] > 0
    assert "prior" in report.figures["conditional_accuracy"]
    assert {"samples-prior.png", "samples-uniform.png", "likely.png"} <= report.files().keys()


def empty(splits, *names):
    return splits._replace(
        **{
            name: Given(torch.empty(0, 1, 16, 16), torch.empty(0, dtype=torch.int64))
            for name in names
        }
    )


@pytest.mark.parametrize("names", [("test",), ("validation",), ("train",), ("train", "test")])
def test_an_empty_split_leaves_out_what_it_was_for(names):
    splits = empty(tiny_splits(LABELS), *names)
    report = evaluate(tiny_model(LABELS), splits, limits=LIMITS)
    check(report)
    assert ("reconstruction" in report.figures) == ("test" not in names)
    assert ("frechet" in report.figures) == (names == ("validation",))
    if "test" in names:
        assert "test set is empty" in report.missing["Quality of reconstructions"]
    labels = [name for name in report.files() if name.startswith("labels")]
    assert labels == ["labels-0.png", "labels-1.png", "labels-2.png"]  # they need no data


def test_an_empty_test_set_of_a_continuous_model():
    splits = empty(tiny_splits(LABELS), "test")
    model = SimpleNamespace(autoencoder=assemble(splits.signal))
    report = evaluate(model, splits, limits=LIMITS)
    check(report)
    assert "samples-prior.png" in report.files()


@pytest.mark.parametrize("variational", [True, False])
@pytest.mark.parametrize("test", [1, 2])
def test_one_or_two_test_images_of_a_continuous_model(variational, test):
    splits = tiny_splits(LABELS, test=test)
    model = SimpleNamespace(autoencoder=assemble(splits.signal, variational=variational))
    report = evaluate(model, splits, limits=LIMITS)
    check(report)
    assert ("latents" in report.figures) == (test > 1)
    assert {"latents-interpolations.png", "latents-traversals.png"} <= report.files().keys()


@pytest.mark.parametrize("test", [1, 2])
def test_one_or_two_test_images(test):
    splits, model = tiny_splits(LABELS, test=test), tiny_model(LABELS)
    report = evaluate(model, splits, tiny_histogram(model, splits, LABELS), limits=LIMITS)
    check(report)
    assert ("frechet" in report.figures) == (test > 1)
    assert report.figures["reconstruction"]["mse"]["value"] > 0


def test_one_training_image():
    splits = tiny_splits(LABELS)._replace(train=labelled(1, [1, 0, 0]))
    model = tiny_model(LABELS)
    check(evaluate(model, splits, tiny_histogram(model, splits, LABELS), limits=LIMITS))
    autoencoder = assemble(splits.signal, variational=False)
    autoencoder.summarise(autoencoder.encode(splits.train.__getitems__([0]).x), None)
    z = GaussianPrior.of(*autoencoder.latent_distribution).sample(3)
    one = autoencoder.decode(z)  # the only thing that it can draw is that image's
    assert bool(one.isfinite().all())
    assert torch.allclose(one[0], one[1], atol=1e-5)


@pytest.mark.parametrize("value", [0.3, -1.0])
def test_constant_images_have_no_mse_over_variance(value):
    x = torch.full((24, 1, 16, 16), value)
    kinds = torch.arange(24) % 3
    splits = tiny_splits(LABELS)._replace(train=Given(x, kinds), test=Given(x, kinds))
    model = tiny_model(LABELS)
    report = evaluate(model, splits, tiny_histogram(model, splits, LABELS), limits=LIMITS)
    content = check(report)
    over = content["figures"]["reconstruction"]["mse_over_variance"]
    assert over["value"] is None
    assert over["note"] == "all values are equal"
    mse = (
        (model.autoencoder.decode(model.autoencoder.encode(x)) - x).double().square().mean().item()
    )
    assert content["figures"]["reconstruction"]["mse"]["value"] == pytest.approx(mse, rel=1e-6)
    assert content["figures"]["frechet"]["train"]["value"] == pytest.approx(0, abs=1e-9)


def test_nearly_constant_images_have_the_right_variance():
    x = torch.full((6, 1, 16, 16), 0.7)
    x[0, 0, 0, 0] += 1e-4
    quality = evaluate(
        tiny_model(prior=False), tiny_splits()._replace(test=Given(x)), limits=LIMITS
    ).figures["reconstruction"]
    wanted = quality["mse"]["value"] / x.double().var(correction=0).item()
    assert quality["mse_over_variance"]["value"] == pytest.approx(wanted, rel=1e-6)


def test_one_label_is_no_task_for_a_classifier():
    label = Label(["only"])
    splits = tiny_splits()
    splits = splits._replace(train=labelled(48, [48]), test=labelled(24, [24], 1), condition=label)
    model = tiny_model(label)
    report = evaluate(model, splits, tiny_histogram(model, splits, label), limits=LIMITS)
    check(report)
    assert "one label 'only'" in report.not_applicable["Accuracy of the classifier"]
    assert "without labels" in report.facts["Sets are compared in"]
    assert "prior" in report.figures["frechet"]
    assert "samples-histogram.png" in report.files()


def small(quantizer):
    signal = Image(1, (16, 16))
    encoder = ConvEncoder(Features(1), quantizer.dim, hidden=8, residual_hidden=4)
    decoder = ConvDecoder(Features(1), quantizer.dim, hidden=8, residual_hidden=4)
    return DiscreteAutoencoder(encoder, quantizer, decoder, signal).eval()


def test_a_codebook_of_one_codeword_costs_nothing():
    tokenizer = small(VectorQuantizer(EMACodebook(codebook_size=1, dim=4)))
    prior = PixelCNN(1, tokenizer.grid, LABELS, hidden=8, layers=1).eval()
    model, splits = Model(tokenizer, prior), tiny_splits(LABELS)
    histogram = Histogram(1, tokenizer.grid, LABELS)
    histogram.fit(torch.zeros(3, 4, 4, dtype=torch.int64), torch.arange(3))
    report = evaluate(model, splits, histogram, limits=LIMITS)
    content = check(report)
    assert content["figures"]["codebook"]["usage"]["value"] == 1
    assert content["figures"]["codebook"]["perplexity"]["value"] == 1
    for rate in content["figures"]["rate"].values():
        assert rate["bits_per_image"]["value"] == pytest.approx(0, abs=1e-6)
        assert rate["share_of_uniform"]["value"] is None
        assert "one codeword" in rate["share_of_uniform"]["note"]


@pytest.mark.parametrize("bits", [22, 36, 62])
def test_a_huge_implicit_codebook_is_counted_by_what_is_used(bits):
    tokenizer, splits = small(LookupFreeQuantizer(bits=bits)), tiny_splits(LABELS)
    report = evaluate(Model(tokenizer), splits, limits=LIMITS)
    check(report)
    indices = tokenizer.encode(splits.test.__getitems__(range(24)).x)
    counts = indices.unique(return_counts=True)[1].double()
    p = counts / counts.sum()
    codebook = report.figures["codebook"]
    assert codebook["usage"]["value"] == pytest.approx(len(counts) / 2**bits, rel=1e-9)
    assert codebook["perplexity"]["value"] == pytest.approx(float((-p * p.log()).sum().exp()))
    assert "codebook-0.png" in report.files()


def test_a_diverged_model_is_told_and_not_drawn():
    model, splits = tiny_model(LABELS), tiny_splits(LABELS)
    with torch.no_grad():
        model.prior.second.weight.fill_(math.nan)
    report = evaluate(model, splits, tiny_histogram(model, splits, LABELS), limits=LIMITS)
    check(report)
    assert {"uniform", "histogram"} < set(report.figures["frechet"])
    assert "diverged" in report.missing["Picture of samples of the learned prior"]


@pytest.mark.parametrize(
    "error", [RuntimeError("out of ideas"), IndexError("7"), ZeroDivisionError("0")]
)
def test_whatever_fails_the_rest_is_there(monkeypatch, caplog, error):
    def fails(*_):
        raise error

    def whole():
        model, splits = tiny_model(LABELS), tiny_splits(LABELS, test=16)
        return evaluate(model, splits, tiny_histogram(model, splits, LABELS), limits=wide)

    wide = Limits(samples=16, classifier_steps=1, shown=2, batch_size=16, downloaded=False)
    monkeypatch.setattr(codebook_usage, "codebook_figures", fails)
    report = whole()
    foreseen = isinstance(error, ArithmeticError)
    assert report.failed == ([] if foreseen else ["Use of the codebook"])
    assert str(error) in report.missing["Use of the codebook"]
    assert {"reconstruction", "rate", "frechet", "rejection"} <= report.figures.keys()
    assert ("Traceback" in caplog.text) != foreseen  # a fault in the program is not hidden
    content = json.loads(report.to_json())
    assert content["figures"]["codebook"]["value"] is None
    assert str(error) in content["figures"]["codebook"]["note"]
    assert Page(report.to_html()).tags
    monkeypatch.undo()
    assert whole().figures["frechet"] == report.figures["frechet"]  # nothing else is changed


def test_damaged_curves_cost_the_curves_alone(tmp_path):
    broken = tmp_path / "metrics.csv"
    broken.write_bytes(b"\x00\xff,\nstep")
    report = evaluate(
        tiny_model(prior=False), tiny_splits(), curves={"tokenizer": broken}, limits=LIMITS
    )
    check(report)
    assert "reconstruction" in report.figures


def test_clocks_of_a_test_set_that_is_empty():
    time = TimeOfDay()
    splits = tiny_splits(time)._replace(
        test=Given(torch.empty(0, 1, 16, 16), torch.empty(0)), measurements=MEASUREMENTS
    )
    report = evaluate(tiny_model(time), splits, limits=LIMITS)
    check(report)
    assert "generated" in report.figures["clocks"]


def test_a_measurement_that_cannot_be_taken_is_said_once():
    report = Report("x")
    with report.attempt("A", "section/a"):
        raise InputError("there is none: add one.")
    assert report.missing == {"A": "there is none: add one."}
    assert json.loads(report.to_json())["figures"]["section"]["a"]["value"] is None
    with pytest.raises(KeyboardInterrupt), report.attempt("B"):
        raise KeyboardInterrupt
