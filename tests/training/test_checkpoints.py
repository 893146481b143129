"""A saved state that is damaged, or of something else, is one line; what else a run may hold."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
from torch import nn

from smalti import runs
from smalti.errors import InputError
from smalti.evaluation.curves import read_curves
from smalti.model_folder import FORMAT
from smalti.recipes import schema
from smalti.runs import Run
from smalti.training.checkpoints import AtomicCheckpointIO, read_state
from tiny import clocks_recipe


def checkpoint(model, **more):
    parts = {"optimizer_states": [{"lr": 0.1}], "lr_schedulers": [], "loops": {}, "callbacks": {}}
    return {"state_dict": model.state_dict(), "global_step": 3, "format": FORMAT, **parts, **more}


def save(content, path):
    AtomicCheckpointIO().save_checkpoint(content, path)


def refused(path, stage):
    with pytest.raises(InputError, match="delete it and give the same command again") as caught:
        read_state(path, stage)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_state_is_read_as_it_was_written_also_by_torch_alone(tmp_path):
    model = nn.Linear(3, 2)
    save(checkpoint(model), tmp_path / "a.ckpt")
    for read in (
        read_state(tmp_path / "a.ckpt", model),
        torch.load(tmp_path / "a.ckpt", weights_only=True),
    ):
        assert torch.equal(read["state_dict"]["weight"], model.weight)
        assert read["optimizer_states"] == [{"lr": 0.1}]


def test_one_flipped_bit_anywhere_is_noticed(tmp_path):
    path, model = tmp_path / "a.ckpt", nn.Linear(3, 2)
    save(checkpoint(model), path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 13):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        assert "is damaged" in refused(path, model)


def test_what_is_no_state_of_this_stage_is_one_line(tmp_path):
    model, path = nn.Linear(3, 2), tmp_path / "a.ckpt"
    save(checkpoint(model), path)
    whole = path.read_bytes()
    for content in (b"", b"\x80", whole[:-1], whole[:100], whole + b"\x00", whole[:-80]):
        path.write_bytes(content)
        assert "is damaged" in refused(path, model)
    torch.save(torch.zeros(3), path)  # of another program, without a checksum
    assert "is damaged" in refused(path, model)
    for content in (torch.zeros(3), [1, 2], {"state_dict": model.state_dict()}, {}):
        save(content, path)
        said = refused(path, model)
        assert "is damaged" in said and "object has no" not in said
    lacking = checkpoint(model)
    del lacking["loops"]
    save(lacking, path)
    assert "it has no loops" in refused(path, model)
    save(checkpoint(nn.Linear(2, 2)), path)
    assert "weight is (2, 2) there and (2, 3) here" in refused(path, model)
    save(checkpoint(nn.Linear(3, 2, bias=False)), path)
    assert "only one of them has bias" in refused(path, model)
    save(checkpoint(model, format=None), path)
    assert "another version of smalti, got the format None and not 1" in refused(path, model)
    save(checkpoint(nn.Linear(2, 2), format=FORMAT + 1), path)
    assert "another version of smalti, got the format 2 and not 1" in refused(path, model)
    path.unlink()
    os.mkfifo(path)
    assert "is a pipe" in refused(path, model)
    path.unlink()
    path.mkdir()
    assert "is a folder" in refused(path, model)


def test_a_state_of_an_earlier_version_is_called_so_unless_it_is_damaged(tmp_path):
    model, path = nn.Linear(3, 2), tmp_path / "a.ckpt"
    torch.save(checkpoint(model), path)  # which wrote no checksum
    assert "is of an earlier version of smalti" in refused(path, model)
    whole = bytearray(path.read_bytes())
    values = bytes(model.weight.detach().numpy().tobytes())
    whole[whole.index(values)] ^= 1
    path.write_bytes(whole)
    assert "is damaged" in refused(path, model)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    runs.fit(schema.parsed(clocks_recipe()), folder)
    return folder


def test_the_state_of_another_stage_is_not_taken_up(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    weights = (run / "prior" / "model.safetensors").read_bytes()
    shutil.rmtree(run / "prior")
    shutil.copy(run / "state" / "tokenizer.ckpt", run / "state" / "prior.ckpt")
    with pytest.raises(InputError, match=r"prior\.ckpt is the state of another model"):
        runs.fit(schema.parsed(clocks_recipe()), run)
    (run / "state" / "prior.ckpt").unlink()
    runs.fit(schema.parsed(clocks_recipe()), run)
    assert (run / "prior" / "model.safetensors").read_bytes() == weights


def test_a_flipped_bit_in_the_tokens_is_repaired(finished, tmp_path):
    """They are made anew of the same tokenizer; the prior is then the same as well."""
    run = shutil.copytree(finished, tmp_path / "run")
    weights = (run / "prior" / "model.safetensors").read_bytes()
    shutil.rmtree(run / "prior")
    shutil.rmtree(run / "state")
    shard = run / "tokens" / "train-00000.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    runs.fit(schema.parsed(clocks_recipe()), run)
    assert shard.read_bytes() == whole
    assert (run / "prior" / "model.safetensors").read_bytes() == weights


def test_the_next_start_finishes_and_clears_what_a_killed_run_left(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    whole = sorted(path.relative_to(run) for path in run.rglob("*"))
    (run / "tokenizer").rename(run / ".tokenizer.4194305-0123abcd.partial")
    (run / ".tokenizer.4194305-0123abcd.old").mkdir()
    (run / "state" / ".prior.4194305-0123abcd.partial.ckpt").write_text("half")
    (run / ".config.4194305.partial.yaml").write_text("half")
    (run / ".prior.abcd_123.partial").mkdir()
    Run.existing(run)
    assert sorted(path.relative_to(run) for path in run.rglob("*")) == whole


@pytest.mark.parametrize(
    "hardware",
    [
        {"accelerator": "gpu", "devices": 99},
        {"accelerator": "cpu", "devices": 0},
        {"accelerator": "cpu", "strategy": "nonsense"},
        {"accelerator": "cpu", "precision": "7-bit"},
    ],
)
def test_hardware_that_is_not_there_leaves_nothing_behind(tmp_path, hardware):
    recipe = {**clocks_recipe(), "hardware": hardware}
    with pytest.raises(InputError, match="hardware"):
        runs.fit(schema.parsed(recipe), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_stray_files_among_the_logs_are_passed_over(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    logs = run / "logs"
    before = Run(run).curves()
    for name in ("version_0 (copy)", "version_", "version_x", "old"):
        shutil.copytree(logs / "prior" / "csv" / "version_0", logs / "prior" / "csv" / name)
    shutil.copytree(logs / "prior", logs / "prior (copy)")
    shutil.copytree(logs / "prior", logs / "prior-backup")
    (logs / "prior-notes.txt").write_text("mine")
    (logs / "prior" / "csv" / "version_7").mkdir()
    assert Run(run).curves() == before
    assert read_curves(before["prior"])["loss"]["train"]
