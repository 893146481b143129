"""Labels of one image each, most of them without a token grid: from a folder to a report."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from mistakes import mistake
from smalti.cli import main
from smalti.conditions import Label
from smalti.generation import Model
from smalti.runs import Run
from smalti.token_cache import read_cache
from tiny import clocks_recipe, write_recipe


def test_labels_of_one_image_each_from_a_folder_to_a_report(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for number in range(24):
        folder = tmp_path / "data" / f"label {number:02d}"
        folder.mkdir(parents=True)
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "only.png")
    recipe = clocks_recipe()
    recipe["data"] = {"class_path": "Images", "init_args": {"path": "data", "size": 16}}
    recipe["prior"]["examples"] = 6
    for stage in ("tokenizer", "prior"):
        recipe[stage]["training"] |= {"steps": 4, "validate_every": 2, "save_every": 2}
    recipe["evaluation"] = {"samples": 12, "classifier_steps": 2, "feature_steps": 2}
    run = tmp_path / "run"
    words = ["fit", str(write_recipe(tmp_path / "rare.yaml", recipe))]
    assert main([*words, "--data", str(tmp_path / "data"), "--out", str(run)]) == 0

    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert (
        "No grid seen in training has the label 'label"
        in (report["missing"]["Picture of samples of the histogram"])
    )
    assert report["figures"]["rate"]["prior"]["nats_per_index"]["value"] > 0
    assert report["figures"]["reconstruction"]["mse"]["value"] > 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "not computed: No grid seen in training" in page
    assert (run / "samples" / "samples-prior.png").is_file()
    assert main(["evaluate", str(run)]) == 0
    again = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert again["figures"] == report["figures"]

    # A learned prior draws a label that it was never shown; the histogram says that it cannot.
    model = Model.load(run)
    assert isinstance(model.condition, Label)
    seen = read_cache(Run(run).tokens, "train").context
    unseen = next(i for i in range(24) if i not in seen.tolist())
    name = model.condition.format(unseen)
    words = ["sample", str(run), "--n", "2", "--label", name, "--out", str(tmp_path / "a.png")]
    assert main(words) == 0
    said = mistake(capsys, *words[:-1], str(tmp_path / "b.png"), "--prior", "histogram")
    assert f"No grid seen in training has the label {name!r}" in said
