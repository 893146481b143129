"""From a folder of pictures with captions to samples of a text, chosen among candidates."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import smalti
from smalti import runs
from smalti.artifacts import save_model
from smalti.cli import main
from smalti.conditions import Caption
from smalti.errors import InputError
from smalti.evaluation.measurements.caption_retrieval import CaptionRetrieval
from smalti.networks import ContrastiveNetwork
from smalti.recipes import schema
from tiny import clocks_recipe, write_recipe

COLOURS = {"red": (220, 30, 30), "green": (20, 180, 60), "blue": (30, 60, 210)}


def pictures(folder: Path) -> Path:
    folder.mkdir()
    rows = ["file_name,words"]
    for number in range(60):
        name = list(COLOURS)[number % 3]
        picture = np.full((16, 16, 3), 255, np.uint8)
        picture[2 : 6 + number // 6, 3:13] = COLOURS[name]
        Image.fromarray(picture).save(folder / f"{number}.png")
        rows.append(f"{number}.png,a {name} box number {number}")
    (folder / "captions.csv").write_text("\n".join(rows))
    return folder


def recipe(folder: Path) -> dict:
    made = clocks_recipe()
    made["data"] = {
        "class_path": "Images",
        "init_args": {"path": str(folder), "size": 16, "columns": {"text": "words"}},
    }
    model = {"hidden": 16, "layers": 1, "heads": 2}
    made["prior"]["model"] = {"class_path": "TransformerPrior", "init_args": model}
    made["prior"]["condition_dropout"] = 0.2
    made["reranker"] = {
        "dim": 8,
        "width": 4,
        "training": {"steps": 12, "batch_size": 8, "validate_every": 6, "save_every": 4},
    }
    made["evaluation"] = {"samples": 8, "classifier_steps": 5, "judge_steps": 4}
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    made = recipe(pictures(folder / "data"))
    path = write_recipe(folder / "boxes.yaml", made)
    assert main(["fit", str(path), "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_its_report_says_whether_samples_lead_back_to_their_captions(run):
    figures = json.loads((run / "report.json").read_text())["figures"]["caption_retrieval"]
    assert set(figures) == {
        *("test", "reconstructions", "prior", "guided", "reranked", "guided_reranked")
    }
    among = int(re.search(r"among (\d+) different", str(figures))[1])
    assert among > 2
    for measured in figures.values():
        top, times, median = (measured[name]["value"] for name in measured)
        assert 0 <= top <= 1 <= median <= among and times == pytest.approx(top * among)
    page = (run / "report.html").read_text()
    assert "Samples of captions" in page and "box number" in page
    assert list((run / "samples").glob("captions-*.png"))


def test_a_text_is_sampled_and_the_best_of_candidates_are_kept(run, tmp_path, capsys):
    out = str(tmp_path / "boxes.png")
    words = ["sample", str(run), "--text", "a red box", "--n", "3", "--seed", "1", "--out", out]
    assert main([*words, "--candidates", "4", "--guidance", "2"]) == 0
    assert Path(out).exists()
    assert "3 images of “a red box” in one picture" in capsys.readouterr().out
    model = smalti.load(run)
    assert isinstance(model.prior.condition.condition, Caption)
    best = model.sample(3, "a red box", candidates=4, seed=1)
    assert torch.equal(best, model.sample(3, "a red box", candidates=4, seed=1))
    every = model.sample(12, "a red box", seed=1)  # the same draws
    value = torch.tensor([model.condition.parse("a red box")])
    with torch.no_grad():
        scores = model.reranker.scores(every, value.expand(12, -1))
        kept = model.reranker.scores(best, value.expand(3, -1))
    torch.testing.assert_close(kept, scores.sort(descending=True).values[:3])


def test_a_part_is_drawn_to_a_text_and_the_best_of_candidates_is_kept(run, tmp_path):
    model = smalti.load(run)
    x = model.sample(1, seed=0)[0]
    mask = torch.zeros(model.signal.size, dtype=torch.bool)
    mask[5:7, 5:7] = True
    best = model.edit(x, mask, "a red box", candidates=4, seed=1)
    every = model.edit(x, mask, "a red box", n=4, seed=1)  # the same draws
    with torch.no_grad():
        value = torch.tensor([model.condition.parse("a red box")])
        scores = model.reranker.scores(every, value.expand(4, -1))
    torch.testing.assert_close(best[0], every[scores.argmax()])
    file = str(tmp_path / "a.png")
    assert main(["sample", str(run), "--n", "1", "--out", file]) == 0
    words = ["edit", str(run), file, "--strength", "0.5", "--text", "a red box", "--convert"]
    assert main([*words, "--candidates", "2", "--out", str(tmp_path / "b.png")]) == 0


@pytest.mark.parametrize(
    "options, line",
    [
        (["--text", ""], "The text is empty"),
        (["--text", "box " * 40], "is too long, got .* tokens where"),
        (["--text", "a red box", "--candidates", "0"], "must be at least 1, got 0"),
        (["--candidates", "2", "--prior", "uniform"], "have no captions to be chosen by"),
        (["--label", "red"], "is conditioned on a text, --text"),
    ],
)
def test_what_cannot_be_sampled_is_refused_in_one_line(run, options, line, capsys):
    assert main(["sample", str(run), *options]) == 2
    said = capsys.readouterr().err.strip()
    assert re.search(line, said) and "\n" not in said


def test_a_model_without_reranker_or_captions_says_so(run, tmp_path):
    model = smalti.load(run)
    model.reranker = None
    with pytest.raises(InputError, match="has no reranker .* got candidates=2"):
        model.sample(2, "a red box", candidates=2)
    kept = smalti.load(run)
    kept.save(tmp_path / "saved")
    again = smalti.load(tmp_path / "saved")
    options = {"candidates": 3, "seed": 0}
    assert torch.equal(again.sample(2, "box", **options), kept.sample(2, "box", **options))


def test_a_reranker_of_other_captions_is_refused(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    folder = tmp_path / "run" / "reranker"
    shutil.rmtree(folder)
    signal = smalti.load(run).signal
    other = ContrastiveNetwork(signal, Caption.learned(["else"]), dim=8, width=4)
    save_model(other, folder)
    with pytest.raises(InputError, match="is of other captions than its prior"):
        smalti.load(tmp_path / "run")


def test_a_recipe_without_captions_has_no_reranker(tmp_path):
    made = clocks_recipe()
    made["reranker"] = {"training": {"steps": 2}}
    with pytest.raises(InputError, match="these data have none: give --data.columns.text"):
        runs.fit(schema.parsed(made), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    del made["prior"]
    with pytest.raises(InputError, match="a prior that takes captions, got no such prior"):
        schema.build(schema.parsed(made))


def test_more_steps_of_a_reranker_go_on_where_it_ended(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    made = yaml.safe_load((run / "config.yaml").read_text())
    made["reranker"]["training"]["steps"] = 16
    before = smalti.load(run)
    runs.fit(schema.parsed(made), tmp_path / "run", extend=True)
    after = smalti.load(tmp_path / "run")
    old, new = (torch.cat([w.flatten() for w in m.reranker.parameters()]) for m in (before, after))
    assert not torch.equal(old, new)
    kept = zip(before.prior.parameters(), after.prior.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in kept)


def test_without_a_caption_nothing_chooses_among_candidates(run, capsys):
    words = ["sample", str(run), "--text", "none", "--n", "2"]
    assert main([*words, "--candidates", "2"]) == 2
    said = capsys.readouterr().err.strip()
    assert re.search("Candidates are chosen by their text, got none and candidates=2", said)
    with pytest.raises(InputError, match="make fewer at a time"):
        smalti.load(run).sample(1, "a red box", candidates=10**15)


def test_what_was_saved_before_is_no_part_of_another_model(run, tmp_path):
    folder, model = tmp_path / "saved", smalti.load(run)
    model.save(folder)
    model.reranker = None
    model.save(folder)
    assert smalti.load(folder).reranker is None
    model.prior = None
    model.save(folder)
    assert smalti.load(folder).prior is None
    assert [path.name for path in folder.iterdir()] == ["tokenizer"]


def test_one_caption_alone_is_not_to_be_found_among_others():
    limits, test = SimpleNamespace(judge_steps=4), SimpleNamespace(test=range(5))
    subject: Any = SimpleNamespace(without_captions=None, limits=limits, splits=test)
    subject.conditions = torch.ones(5, 3)
    assert "two captions" in str(CaptionRetrieval().applies(subject))
    subject.conditions[0] = 2
    assert CaptionRetrieval().applies(subject) is None
