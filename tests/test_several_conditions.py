"""A run whose examples carry several conditions at once, from data to samples."""

from __future__ import annotations

import pytest
import torch

import smalti
from smalti import runs
from smalti.cli import main
from smalti.conditions import Conditions, Label, OptionalCondition, TimeOfDay
from smalti.data import Batch, Examples
from smalti.errors import InputError
from smalti.evaluation import Limits, evaluate
from smalti.generation import Model
from smalti.recipes import schema
from tiny import clocks_recipe

BOTH = Conditions([OptionalCondition(Label(["before six", "after"], "half")), TimeOfDay()])


class HalfAndTime(Examples):
    """Clocks whose condition is their time, and the half of the dial that it lies in."""

    def __init__(self, clocks: Examples) -> None:
        self.clocks = clocks

    def __len__(self) -> int:
        return len(self.clocks)

    def __getitems__(self, indices) -> Batch:
        return Batch(self.clocks.__getitems__(indices).x, self.conditions_at(indices))

    def conditions_at(self, indices) -> torch.Tensor:
        time = self.clocks.conditions_at(indices)
        return BOTH.pack({"half": (time >= 360).long(), "time": time})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several") / "run"
    config = schema.parsed(clocks_recipe())
    splits = schema.build(config).data.load()
    three = {name: HalfAndTime(getattr(splits, name)) for name in ("train", "validation", "test")}
    return runs.fit(config, folder, splits._replace(**three, condition=BOTH))


def test_its_prior_knows_them_by_name(made, capsys, tmp_path):
    run, _ = made
    model = smalti.load(run.folder)
    assert isinstance(model, Model)
    assert model.condition.equals(BOTH)
    asked = {"half": "after", "time": ["10:10", "7:00"]}
    assert model.sample(2, asked, seed=0).shape == (2, 3, 16, 16)
    assert model.sample(2, {"time": "10:10"}, guidance=2, seed=0).shape == (2, 3, 16, 16)
    for wrong in ("10:10", {"label": "after"}, {"half": "never"}, {"time": ["10:10"] * 3}):
        with pytest.raises(InputError) as error:
            model.sample(2, wrong)
        assert "\n" not in str(error.value)
    out = str(tmp_path / "two.png")
    words = ["sample", str(run.folder), "--n", "2", "--out", out]
    assert main([*words, "--half", "none", "--time", "10:10"]) == 0
    assert main([*words, "--help"]) == 0
    assert "--half HALF" in (text := capsys.readouterr().out) and "--time TIME" in text


def test_its_report_measures_it(made):
    run, splits = made
    limits = Limits(samples=8, classifier_steps=5, feature_steps=2, test=16, batch_size=8)
    report = evaluate(smalti.load(run.folder), splits, limits=limits)
    assert report.figures
