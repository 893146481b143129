"""Laws that every measurement keeps, of every kind of model. A new one joins by a line in ALL."""

from __future__ import annotations

import json
import math
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_report import Page
from tiny_models import LABELS, tiny_histogram, tiny_model, tiny_splits

from small_autoencoders import assemble
from smalti import synthetic
from smalti.autoencoders import DiscreteAutoencoder, HierarchicalAutoencoder
from smalti.conditions import CoarseTokens, TimeOfDay
from smalti.data import Splits, TensorExamples
from smalti.evaluation import EvaluationContext, Limits, Report, evaluate
from smalti.evaluation.measurements import MEASUREMENTS, TrainingCurves
from smalti.evaluation.memo import measurement_mode
from smalti.generation import Model
from smalti.losses.likelihoods import Categorical
from smalti.modalities.base import import_modalities
from smalti.modalities.vector import Vector, Vectors
from smalti.networks import ConvDecoder, ConvEncoder, Features, MLPEncoder
from smalti.priors import Cascade, PixelCNN
from smalti.quantizers import EMACodebook, ResidualQuantizer, VectorQuantizer
from smalti.reporting import SampleComparison, Section
from smalti.reporting.figures import is_figure
from voices import tiny_codec

ALL = [
    *MEASUREMENTS,
    *(m for room in import_modalities() for m in room.modality().measurements()),
    *synthetic.MEASUREMENTS,
    TrainingCurves(),
]
OF_A_CLOCK = {"coding_speed"}  # whose figures are times
LIMITS = Limits(
    samples=24,
    classifier_steps=2,
    feature_steps=2,
    shown=2,
    batch_size=10,
    bounded=4,
    importance=2,
)


def tokens(condition=None, **options):
    model, splits = tiny_model(condition, **options), tiny_splits(condition)
    histogram = tiny_histogram(model, splits, condition) if model.prior is not None else None
    return model, splits._replace(measurements=synthetic.MEASUREMENTS), histogram


def vectors(variational):
    splits = tiny_splits(LABELS)
    return (
        SimpleNamespace(autoencoder=assemble(splits.signal, variational=variational)),
        splits,
        None,
    )


def hierarchy():
    splits, sizes = tiny_splits(LABELS), {"hidden": 8, "residual_hidden": 4}
    encoders = [
        ConvEncoder(Features(8), 6, downsampling=2, **sizes),
        ConvEncoder(Features(1), 8, **sizes),
    ]
    decoders = [
        ConvDecoder(Features(8), 6, downsampling=2, **sizes),
        ConvDecoder(Features(1), 14, **sizes),
    ]
    quantizers = [VectorQuantizer(EMACodebook(codebook_size=16, dim=6)) for _ in range(2)]
    tokenizer = HierarchicalAutoencoder(encoders, quantizers, decoders, splits.signal).eval()
    top, bottom = tokenizer.layout.shapes
    above = CoarseTokens([16], [top], LABELS)
    priors = [PixelCNN(16, top, LABELS, hidden=8), PixelCNN(16, bottom, above, hidden=8)]
    return Model(tokenizer, Cascade(priors).eval()), splits, None


def items():
    """One position of three codes each."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(60, 6, generator=draw)
    parts = [TensorExamples(part) for part in x.split((36, 12, 12))]
    signal = Vector(6)
    encoder = MLPEncoder(signal, 4, hidden=8, layers=1)
    quantizer = ResidualQuantizer(
        [VectorQuantizer(EMACodebook(codebook_size=4, dim=4)) for _ in range(3)]
    )
    tokenizer = DiscreteAutoencoder(encoder, quantizer, encoder.mirror(signal, 4), signal).eval()
    return Model(tokenizer), Splits(*parts, signal=signal, condition=None, augment=None), None


def table():
    """Vectors of items with categories, and a tokenizer of two codes an item."""
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.npz"
        columns = {"item_id": np.arange(80), "kind": np.array(["hat", "shoe"] * 40)}
        np.savez(path, embedding=draw.normal(size=(80, 6)), **columns)
        splits = Vectors(str(path)).load()
    encoder = MLPEncoder(splits.signal, 4, hidden=8, layers=1)
    codebooks = [EMACodebook(codebook_size=8, dim=4) for _ in range(2)]
    quantizer = ResidualQuantizer([VectorQuantizer(codebook) for codebook in codebooks])
    decoder = encoder.mirror(splits.signal, 4)
    model = Model(DiscreteAutoencoder(encoder, quantizer, decoder, splits.signal).eval())
    return model, splits, None


def codec():
    return *tiny_codec(length=400), None


SUBJECTS = {
    "labels": lambda: tokens(LABELS),
    "times": lambda: tokens(TimeOfDay()),
    "likelihood": lambda: tokens(likelihood=Categorical(16)),
    "no prior": lambda: tokens(prior=False),
    "hierarchy": hierarchy,
    "items": items,
    "table of items": table,
    "variational": lambda: vectors(variational=True),
    "plain": lambda: vectors(variational=False),
    "codec of sounds": codec,
}


@pytest.fixture(scope="module", params=SUBJECTS)
def parts(request):
    """A model with its data, and the report of all measurements."""
    torch.manual_seed(0)
    model, splits, histogram = SUBJECTS[request.param]()
    return (model, splits, histogram), evaluate(model, splits, histogram, limits=LIMITS)


def leaves(tree):
    for branch in tree.values():
        if is_figure(branch):
            yield branch
        else:
            yield from leaves(branch)


def test_keys_and_titles_tell_measurements_apart():
    assert len({m.key for m in ALL}) == len({m.title for m in ALL}) == len(ALL)
    assert all(m.key.isidentifier() and m.title and m.chapter for m in ALL)


@pytest.mark.parametrize("measurement", ALL, ids=lambda m: m.key)
def test_a_measurement_alone_says_what_it_says_among_all(parts, measurement):
    (model, splits, histogram), whole = parts
    subject = EvaluationContext(model, splits, histogram, LIMITS, 0, ALL)
    report = Report("alone")
    with measurement_mode(0, subject.autoencoder, subject.prior):
        why = measurement.applies(subject)
        report.take(measurement, subject)
        if isinstance(measurement, SampleComparison):
            assert measurement.compares(subject) in (True, False)
    if why is not None:
        assert why[-1] == "." and "\n" not in why
        assert report.not_applicable == {measurement.title: why}
        assert not report.sections
        return
    (section,) = report.sections
    check(section, measurement)
    assert report.failed == []
    Page(report.to_html())
    json.loads(report.to_json(), parse_constant=pytest.fail)
    for said in whole.sections:
        if said.key == section.key and section.key not in OF_A_CLOCK:
            assert said.figures == section.figures
            assert said.files() == section.files()


def check(section, measurement):
    assert isinstance(section, Section)
    kept = (section.key, section.title, section.chapter)
    assert kept == (measurement.key, measurement.title, measurement.chapter)
    for figure in leaves(section.figures):
        assert isinstance(figure["value"], float) and isinstance(figure["unit"], str)
        assert "N = " in figure["protocol"]
        assert not math.isnan(figure["value"]) or figure["note"]
    assert all(card.figure in list(leaves(section.figures)) for card in section.cards)
    assert all(why and "\n" not in why for why in section.missing.values())
    for name, content in section.files().items():
        stem, _, ending = name.rpartition(".")
        assert re.fullmatch(measurement.file_names, stem)
        assert ending != "png" or content.startswith(b"\x89PNG")


@pytest.mark.parametrize("measurement", ALL, ids=lambda m: m.key)
@pytest.mark.parametrize("broken", ["applies", "run"])
def test_one_that_fails_is_a_line(monkeypatch, caplog, measurement, broken):
    def fails(*_):
        raise RuntimeError("out of\nideas")

    monkeypatch.setattr(type(measurement), "applies", lambda *_: None)
    monkeypatch.setattr(type(measurement), broken, fails)
    report = Report("broken")
    report.take(measurement, None)
    assert report.failed == [measurement.title]
    assert "out of" in report.missing[measurement.title]
    assert "Traceback" in caplog.text
    content = json.loads(report.to_json())["figures"][measurement.key]
    assert content["value"] is None and "out of" in content["note"]
    assert f"{measurement.title}</b> not computed" in report.to_html()
