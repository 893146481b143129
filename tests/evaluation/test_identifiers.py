"""The report on IDs: of the whole set, before and after collisions are resolved."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import smalti
from items import items_recipe, write_items
from smalti.cli import main
from smalti.evaluation.measurements.identifiers import Identifiers
from smalti.ids import IdTable, occupancy
from smalti.recipes import schema
from smalti.runs import Run, fit, load_run_data
from tiny import write_recipe

MEASURED = [Identifiers()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("items")
    data = write_items(folder / "items.parquet")
    recipe = write_recipe(folder / "ids.yaml", items_recipe(data, "nearest", (16, 32), fitted=True))
    assert main(["fit", str(recipe), "--out", str(folder / "run")]) == 0
    return Run(folder / "run")


def measured(run):
    splits = load_run_data(run)
    return smalti.load(run.folder).evaluate(splits, measurements=MEASURED)


def test_the_report_of_a_run_has_the_figures_of_its_ids(run):
    table = IdTable.read(run.ids)
    found = json.loads((run.folder / "report.json").read_text())["figures"]["identifiers"]
    before, after = found["before"], found["after"]
    assert before["own_id"]["protocol"].startswith("all splits together, N = 240")
    counts = np.unique(table.own, axis=0, return_counts=True)[1]
    assert before["own_id"]["value"] == pytest.approx((counts == 1).sum() / 240)
    assert before["ids_per_item"]["value"] == pytest.approx(len(counts) / 240)
    assert before["largest_collision"]["value"] == counts.max()
    assert after["own_id"]["value"] == after["ids_per_item"]["value"] == 1
    assert after["resolved"]["value"] == pytest.approx(table.resolved.mean())
    for level, of in enumerate(occupancy(table.tree).levels, start=1):
        assert after[f"dead_{level}"]["value"] == pytest.approx(of.dead)
    page = (run.folder / "report.html").read_text()
    assert "of the items share an ID" in page and "After resolving" in page


def test_what_resolving_costs_is_stated(run):
    found = measured(run).figures["identifiers"]
    before, after = (found[when]["mse_over_variance"] for when in ("before", "after"))
    assert "N = 240, before resolving" in before["protocol"]
    table, model, splits = IdTable.read(run.ids), smalti.load(run.folder), load_run_data(run)
    for codes, figure in ((table.own, before), (table.codes, after)):
        x = np.concatenate([part.__getitems__(range(len(part))).x.numpy() for part in splits[:3]])
        x_hat = model.decode(codes.astype(np.int64)[:, None]).numpy()
        error, spread = ((x - x_hat) ** 2).sum(), ((x - x.mean()) ** 2).sum()
        assert figure["value"] == pytest.approx(error / spread, rel=1e-4)
    assert before["value"] < after["value"]


def test_a_model_whose_run_gave_no_ids_is_measured_before_resolving(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    there = Run(tmp_path / "run")
    there.ids.unlink()
    found = measured(there).figures["identifiers"]
    whole = measured(run).figures["identifiers"]
    assert set(found) == {"before"}
    for key, figure in found["before"].items():
        assert figure["value"] == pytest.approx(whole["before"][key]["value"])


def test_ids_of_another_tokenizer_are_not_measured(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    there = Run(tmp_path / "run")
    table = IdTable.read(there.ids)
    IdTable(
        table.item_ids, table.own, table.codes, (16, 32), "nearest", {"tokenizer": "another"}
    ).write(there.ids)
    report = measured(there)
    assert "was made from another tokenizer" in report.missing["IDs of items"]
    assert not report.failed


def test_a_further_code_costs_nothing_and_is_a_level(tmp_path):
    data = write_items(tmp_path / "items.parquet", 90)
    made, splits = fit(
        schema.parsed(items_recipe(data, "index", (4, 4), fitted=True)), tmp_path / "run"
    )
    report = smalti.load(made.folder).evaluate(splits, measurements=MEASURED)
    found = report.figures["identifiers"]
    assert found["after"]["own_id"]["value"] == 1
    assert "entropy_3" in found["after"] and "entropy_3" not in found["before"]
    assert "mse_over_variance" not in found["before"]
    html = report.to_html()
    assert "a further code numbers" in html and ">Further code, after resolving<" in html
    assert "Level 3" not in html
