"""Model folders: round trips, and one clear line for each way in which a folder can be damaged."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from smalti import model_folder
from smalti.artifacts import (
    build,
    checksum,
    describe,
    load_model,
    made_from,
    registered,
    save_model,
)
from smalti.autoencoders import DiscreteAutoencoder
from smalti.errors import InputError
from smalti.modalities.image import Image
from smalti.networks import ConvDecoder, ConvEncoder, Features
from smalti.quantizers import EMACodebook, GradientCodebook, VectorQuantizer, codebooks


def tokenizer(codebook=EMACodebook, **options) -> DiscreteAutoencoder:
    return DiscreteAutoencoder(
        ConvEncoder(Features(1), 8, hidden=8),
        VectorQuantizer(codebook(codebook_size=16, dim=8)),
        ConvDecoder(Features(1), 8, hidden=8),
        Image(channels=1, size=(12, 8), **options),
    ).eval()


@pytest.mark.parametrize("codebook", [EMACodebook, GradientCodebook])
def test_a_saved_model_is_the_same_model(tmp_path, codebook):
    model = tokenizer(codebook)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    x = torch.rand(2, 1, 12, 8)
    assert torch.equal(loaded.encode(x), model.encode(x))
    assert torch.equal(loaded(x).x_hat, model(x).x_hat)
    assert describe(loaded) == describe(model)
    assert loaded.signal == model.signal
    assert not loaded.training


def test_save_pretrained_and_from_pretrained(tmp_path):
    model = tokenizer()
    model.save_pretrained(tmp_path / "model")
    loaded = DiscreteAutoencoder.from_pretrained(tmp_path / "model")
    x = torch.rand(2, 1, 12, 8)
    assert torch.equal(loaded.encode(x), model.encode(x))
    assert (
        json.loads((tmp_path / "model" / "config.json").read_text())["class"]
        == "DiscreteAutoencoder"
    )


def test_saving_again_leaves_what_else_lies_in_the_folder(tmp_path):
    tokenizer().save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("my own card")
    second = tokenizer()
    second.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "my own card"
    x = torch.rand(2, 1, 12, 8)
    assert torch.equal(load_model(tmp_path).encode(x), second.encode(x))


@pytest.fixture
def hub(monkeypatch):
    """The hub itself cannot be reached here: what would be uploaded is caught and loaded."""
    seen = {}

    class Hub:
        def __init__(self, **_):
            pass

        def create_repo(self, repo_id, **_):
            seen["repository"] = repo_id
            return type("Url", (), {"repo_id": repo_id})

        def upload_folder(self, *, folder_path, **_):
            seen["model"] = load_model(folder_path)
            return "https://hub/me/clocks"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    return seen


def test_push_to_hub_uploads_the_model_folder(hub):
    model = tokenizer()
    model.push_to_hub("me/clocks")
    x = torch.rand(2, 1, 12, 8)
    assert torch.equal(hub["model"].encode(x), model.encode(x))


def test_a_model_saved_and_pushed_at_once_has_the_name_of_its_folder(hub, tmp_path):
    model = tokenizer()
    model.save_pretrained(tmp_path / "clocks", push_to_hub=True)
    assert hub["repository"] == "clocks"
    x = torch.rand(2, 1, 12, 8)
    assert torch.equal(load_model(tmp_path / "clocks").encode(x), model.encode(x))


def test_from_pretrained_by_a_hub_name(tmp_path, monkeypatch):
    model = tokenizer()
    save_model(model, tmp_path / "me" / "clocks")

    def download(repo_id, filename, **_):
        return str(tmp_path / repo_id / filename)

    monkeypatch.setattr("smalti.artifacts.hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", lambda **k: download(**k))
    x = torch.rand(2, 1, 12, 8)
    loaded = DiscreteAutoencoder.from_pretrained("me/clocks")
    assert torch.equal(loaded.encode(x), model.encode(x))


def drop_weights(folder):
    (folder / "model.safetensors").unlink()


def drop_config(folder):
    (folder / "config.json").unlink()


def truncate_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def truncate_config(folder):
    config = folder / "config.json"
    config.write_text(config.read_text()[:-20])


def edit_weights(folder):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["encoder.down.0.bias"] += 1
    safetensors.torch.save_file(weights, folder / "model.safetensors")


def edit_config(folder):
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"codebook_size": 16', '"codebook_size": 32'))


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (drop_weights, "model.safetensors is missing"),
        (drop_config, "config.json is missing"),
        (truncate_weights, "truncated or edited"),
        (truncate_config, "not the JSON of a model"),
        (edit_weights, "truncated or edited"),
        (edit_config, "truncated or edited"),
    ],
)
def test_a_damaged_folder_is_one_clear_line(tmp_path, damage, line):
    folder = tmp_path / "model"
    save_model(tokenizer(), folder)
    damage(folder)
    with pytest.raises(InputError, match=line) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (None, "saved by an older smalti, .* got no format and not 1: train it again"),
        (2, "saved by a newer smalti, got the format 2 and not 1: upgrade smalti"),
        (0, "has the format 0 and not 1: save the model again"),
        ("1", "has the format '1' and not 1: save the model again"),
        (True, "has the format True and not 1: save the model again"),
    ],
)
def test_a_folder_of_another_format_says_what_to_do(tmp_path, found, line):
    save_model(tokenizer(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["format"] == 1
    config["format"] = found
    if found is None:  # with other names, too
        del config["format"]
        config["quantizer"]["codebook"] |= {"size": config["quantizer"]["codebook"].pop("dim")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for read in (load_model, checksum):
        with pytest.raises(InputError, match=line) as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)


def test_a_config_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="not in the registry"):
        build({"class": "os.system", "command": "true"})
    with pytest.raises(InputError, match="does not fit its constructor"):
        build({"class": "EMACodebook", "codebook_size": 4, "dim": 2, "colour": "red"})


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(InputError, match="already holds"):

        @registered
        class EMACodebook:
            pass


def test_a_class_without_a_constructor_of_its_own_can_be_saved():
    @registered
    class Halve(torch.nn.Module):
        def forward(self, x):
            return x / 2

    assert describe(Halve()) == {"class": "Halve"}
    assert build(describe(Halve()))(2.0) == 1.0


def test_an_unregistered_argument_is_refused():
    with pytest.raises(InputError, match="cannot be saved"):
        describe(torch.nn.Linear(1, 1))


def test_what_a_model_was_made_from_is_saved_with_it_and_cannot_be_edited(tmp_path):
    save_model(tokenizer(), tmp_path / "plain")
    assert made_from(tmp_path / "plain") == {}
    save_model(tokenizer(), tmp_path / "model", made_from={"data": "abc", "tokens": "def"})
    assert made_from(tmp_path / "model") == {"data": "abc", "tokens": "def"}
    assert isinstance(load_model(tmp_path / "model"), DiscreteAutoencoder)
    config = tmp_path / "model" / "config.json"
    assert checksum(tmp_path / "model") == json.loads(config.read_text())["checksum"]
    config.write_text(config.read_text().replace("abc", "abd"))
    for read in (made_from, checksum, load_model):
        with pytest.raises(InputError, match="truncated or edited"):
            read(tmp_path / "model")


def same_weights(one, other):
    return all(torch.equal(one.state_dict()[name], t) for name, t in other.state_dict().items())


def test_a_model_does_not_take_the_place_of_a_file(tmp_path):
    (tmp_path / "mine").write_text("mine")
    for save in (save_model, DiscreteAutoencoder.save_pretrained):
        with pytest.raises(InputError, match="saved as a folder, got the file"):
            save(tokenizer(), tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine").read_text() == "mine"


def test_what_else_lies_in_a_folder_stays_when_a_model_is_saved_there(tmp_path):
    for save in (save_model, DiscreteAutoencoder.save_pretrained):
        folder = tmp_path / save.__name__
        (folder / "data").mkdir(parents=True)
        (folder / "data" / "notes.txt").write_text("mine")
        (folder / "README.md").write_text("my own card")
        for model in (tokenizer(), tokenizer()):
            save(model, folder)
            assert same_weights(load_model(folder), model)
        assert (folder / "data" / "notes.txt").read_text() == "mine"
        assert (folder / "README.md").read_text() == "my own card"
        assert not list(folder.glob(".*"))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_model_of_another_library_is_replaced_when_asked_only(tmp_path, name):
    for save in (save_model, DiscreteAutoencoder.save_pretrained):
        folder = tmp_path / save.__name__
        folder.mkdir()
        (folder / name).write_text('{"model_type": "bert"}')
        with pytest.raises(InputError, match=f"{name} is there already and was not written by"):
            save(tokenizer(), folder)
        assert (folder / name).read_text() == '{"model_type": "bert"}'
        assert [file.name for file in folder.iterdir()] == [name]
        save(tokenizer(), folder, overwrite=True)
        assert isinstance(load_model(folder), DiscreteAutoencoder)


def test_a_kill_between_the_two_files_of_a_model_is_finished_at_the_next_load(
    tmp_path, monkeypatch
):
    first, second = tokenizer(), tokenizer()
    save_model(first, tmp_path)
    moved = []

    def killed(new, target):
        if moved:
            raise KeyboardInterrupt
        moved.append(target.name)
        new.replace(target)

    monkeypatch.setattr("smalti.files._move", killed)
    monkeypatch.setattr("smalti.files.shutil.rmtree", lambda *_, **__: None)  # as after a kill
    with pytest.raises(KeyboardInterrupt):
        save_model(second, tmp_path)
    assert moved == ["model.safetensors"]
    monkeypatch.undo()
    left = next(tmp_path.glob(".files.*.partial"))
    left.rename(tmp_path / ".files.4194305-0123abcd.partial")  # of a process that is gone
    assert same_weights(load_model(tmp_path), second)
    save_model(first, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_broken_folder_is_one_line_from_pretrained_too(tmp_path):
    for text in ("[" * 100_000, "{", "5", '{"class": ["a"]}'):
        (tmp_path / "config.json").write_text(text)
        (tmp_path / "model.safetensors").write_bytes(b"")
        with pytest.raises(InputError) as caught:
            DiscreteAutoencoder.from_pretrained(tmp_path)
        assert "\n" not in str(caught.value)


def test_a_bare_import_is_enough_to_load(tmp_path):
    model = VectorQuantizer(EMACodebook(codebook_size=4, dim=2))
    save_model(model, tmp_path / "model")
    code = (
        "import sys, smalti\n"
        "assert 'torch' not in sys.modules\n"
        "print(type(smalti.artifacts.load_model(sys.argv[1])).__name__)\n"
        "assert not hasattr(smalti, 'frob')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "VectorQuantizer\n", done.stderr


def test_weights_are_hashed_once_while_they_stay_as_they_are(tmp_path, monkeypatch):
    save_model(tokenizer(), tmp_path)
    weights, hashed = tmp_path / "model.safetensors", []
    sha256 = hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda *data: hashed.append(1) or sha256(*data))
    for _ in range(2):  # just written: it may change again within the same tick of the clock
        load_model(tmp_path)
    assert len(hashed) == 2
    monkeypatch.setattr(model_folder, "RECENT", -(10**12))
    first = checksum(tmp_path)
    for _ in range(3):
        load_model(tmp_path)
        assert checksum(tmp_path) == first
    assert len(hashed) == 3
    changed, times = bytearray(weights.read_bytes()), weights.stat()
    changed[-1] ^= 1  # as long as before, and with the time of before
    weights.write_bytes(changed)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(InputError, match="truncated or edited"):
        load_model(tmp_path)


def test_a_large_codebook_is_counted_in_pieces_as_it_is_at_once(monkeypatch):
    codebook = GradientCodebook(codebook_size=64, dim=7)
    whole = codebook.digest()
    monkeypatch.setattr(codebooks, "PIECE", 30)
    assert codebook.digest() == whole
