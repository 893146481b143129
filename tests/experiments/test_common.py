"""What the experiments share: the loop learns repeatably, results are whole."""

from __future__ import annotations

import json
import math

import common
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from smalti.modalities.image.pixels import Pixels
from smalti.training import Tokens


def linear(steps: int, seed: int, after=None) -> tuple[nn.Linear, list[float]]:
    """Learns y = 2x + 1 from bytes."""
    examples = Pixels(torch.arange(200, dtype=torch.uint8).reshape(-1, 1, 1, 1), None)
    torch.manual_seed(seed)
    model, history = nn.Linear(1, 1), []

    def loss(x: torch.Tensor, step: int) -> torch.Tensor:
        assert step == len(history)
        value = (model(x) - (2 * x + 1)).square().mean()
        history.append(value.item())
        return value

    common.fit(model, loss, examples, steps=steps, seed=seed, after=after, rate=0.1)
    return model, history


def test_the_loop_learns_and_calls_back_after_each_step():
    calls = []
    model, history = linear(100, 0, after=lambda: calls.append(1))
    assert history[-1] < history[0] / 100
    assert len(calls) == 100
    assert not model.training


def test_the_seed_alone_decides():
    first, again, other = (linear(5, seed)[1] for seed in (0, 0, 1))
    assert first == again != other


def test_tokens_are_examples_too():
    model, seen = nn.Linear(1, 1), []

    def loss(indices: torch.Tensor, step: int) -> torch.Tensor:
        seen.append(indices)
        return model(torch.ones(1)).sum()

    common.fit(model, loss, Tokens(torch.arange(6).view(3, 2)), steps=2, seed=0, batch_size=3)
    assert [sorted(rows[:, 0].tolist()) for rows in seen] == [[0, 2, 4]] * 2


def test_what_is_written_is_what_was_found(tmp_path):
    chosen = common.options("A claim.", ["--out", str(tmp_path / "new"), "--seeds", "2"], budget=7)
    assert (chosen.seeds, chosen.budget) == (2, 7)
    record = {"rows": [{"seed": 0, "value": 0.1}], "summary": common.summary([0.1])}
    common.save("claim", chosen, record, Figure(figsize=(1, 1)))
    read = json.loads((tmp_path / "new" / "claim.json").read_text())
    assert read["rows"] == record["rows"]
    assert read["summary"] == {"mean": 0.1, "sd": None}
    assert read["settings"]["budget"] == 7
    assert (tmp_path / "new" / "claim.png").stat().st_size > 0
    with pytest.raises(ValueError, match="JSON"):
        common.save("claim", chosen, {"value": math.nan}, Figure(figsize=(1, 1)))


def test_an_experiment_without_files_has_no_option_of_them(tmp_path, capsys):
    chosen = common.options("A claim.", ["--out", str(tmp_path)], budget=7, data="")
    common.save("claim", chosen, {}, Figure(figsize=(1, 1)))
    read = json.loads((tmp_path / "claim.json").read_text())
    assert read["settings"] == {"seeds": 3, "budget": 7, "threads": 1}
    with pytest.raises(SystemExit):
        common.options("A claim.", ["--data", "folder"], budget=7, data="")
    assert "--data" in capsys.readouterr().err


def test_a_budget_of_nothing_is_refused(capsys):
    with pytest.raises(SystemExit):
        common.options("A claim.", ["--budget", "0"], budget=7)
    assert "at least 1" in capsys.readouterr().err


def test_a_file_of_the_user_is_not_replaced_by_results(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["experiments/claim.py"])
    (tmp_path / "claim.png").write_text("mine")
    words = ["--out", str(tmp_path)]
    with pytest.raises(SystemExit):
        common.options("A claim.", words, budget=7, data="")
    assert "was not written by smalti" in capsys.readouterr().err
    chosen = common.options("A claim.", [*words, "--overwrite"], budget=7, data="")
    common.save("claim", chosen, {}, Figure(figsize=(1, 1)))
    common.save("claim", common.options("", words, budget=7, data=""), {}, Figure(figsize=(1, 1)))
