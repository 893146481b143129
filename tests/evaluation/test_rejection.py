"""Rejection by a classifier keeps the surest of each label, as many as were asked for."""

from __future__ import annotations

import torch
from tiny_models import LABELS, tiny_histogram, tiny_model, tiny_splits

from smalti.evaluation import Limits, evaluate
from smalti.evaluation.measurements.rejection import top_fraction


def test_the_surest_of_each_label_are_kept():
    labels = torch.arange(90) % 3
    scores = torch.rand(90)
    for share in (1.0, 0.5, 0.1):
        kept = top_fraction(scores, labels, share)
        gone = torch.ones(90, dtype=torch.bool)
        gone[kept] = False
        for label in range(3):
            own = labels == label
            assert (labels[kept] == label).sum() == round(30 * share)
            if share < 1:
                assert scores[kept][labels[kept] == label].min() >= scores[own & gone].max()
    assert torch.equal(top_fraction(scores, labels, 1.0), torch.arange(90))


def test_each_label_keeps_one_at_least():
    kept = top_fraction(torch.rand(5), torch.tensor([0, 1, 1, 1, 2]), 0.01)
    assert kept.tolist()[0] == 0
    assert kept.tolist()[-1] == 4
    assert len(kept) == 3


def test_the_report_has_the_curve():
    splits, model = tiny_splits(LABELS), tiny_model(LABELS)
    limits = Limits(samples=24, classifier_steps=3, shown=4, downloaded=False)
    histogram = tiny_histogram(model, splits, LABELS)
    report = evaluate(model, splits, histogram, limits=limits)
    assert list(report.figures["rejection"]) == ["1", "0.5", "0.25"]
    for figures in report.figures["rejection"].values():
        assert 0 <= figures["accuracy"]["value"] <= 1
        assert figures["frechet"]["value"] >= 0
    assert {"rejection-curve.png", "rejection-1.png", "rejection-0.25.png"} <= report.files().keys()
    assert "Rejection sampling" in report.to_html()
