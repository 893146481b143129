"""A run knows its data, and what does not belong together is refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from mistakes import mistake
from smalti import load, runs
from smalti.artifacts import checksum, load_model, made_from, save_model
from smalti.cli import main
from smalti.comparison import head_to_head
from smalti.data import Source, Splits
from smalti.data.manifest import read_manifest
from smalti.errors import InputError
from smalti.modalities.image.pixels import Pixels
from smalti.modalities.image.signal import Image as ImageSignal
from smalti.recipes import allowed_classes, schema
from smalti.run_recipe import recipe_of
from smalti.runs import Run, fit, load_run_data, load_run_examples
from tiny import clocks_recipe, vae_recipe

SIZE = 16


def write(folder: Path, name: str, seed: int) -> None:
    """An image of its own for each seed."""
    file = folder / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)


def config_of(data: Path, **fields):
    recipe = clocks_recipe()
    recipe["data"] = {"class_path": "Images", "init_args": {"path": str(data), "size": SIZE}}
    for part in "tokenizer", "prior":
        recipe[part]["training"] |= {"steps": 4, "save_every": 2, "validate_every": 2}
    recipe["evaluation"] = {"samples": 8, "classifier_steps": 0, "feature_steps": 2}
    return schema.parsed({**recipe, **fields})


class Made:
    """Folders of data and of a run made from them, and the recipe."""

    def __init__(self, folder: Path) -> None:
        self.data, self.folder = folder / "images", folder / "run"

    @property
    def config(self):
        return config_of(self.data)

    @property
    def run(self) -> Run:
        return Run(self.folder)

    def fit(self, **how) -> Splits:
        return fit(self.config, self.folder, **how)[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    made = Made(folder)
    for i in range(80):
        write(made.data, f"{'ab'[i % 2]}/{i:02d}", i)
    made.fit()
    fit(config_of(made.data, seed=1), folder / "other")
    return folder


@pytest.fixture
def made(finished, tmp_path) -> Made:
    """A run of its own, finished, and beside it in `other` one of another seed."""
    shutil.copytree(finished, tmp_path / "copy")
    config = (tmp_path / "copy" / "run" / "config.yaml").read_text()
    for run in "run", "other":
        file = tmp_path / "copy" / run / "config.yaml"
        file.write_text(file.read_text().replace(str(finished), str(tmp_path / "copy")))
    assert str(finished) in config
    return Made(tmp_path / "copy")


def images(examples) -> torch.Tensor:
    return examples.__getitems__(range(len(examples))).x


def same(a: Splits, b: Splits) -> bool:
    return a.condition.equals(b.condition) and all(
        torch.equal(images(x), images(y)) and torch.equal(x.conditions, y.conditions)
        for x, y in zip(a[:3], b[:3], strict=True)
    )


# What changed in the data


def add(made: Made) -> None:
    for i in range(10):
        write(made.data, f"a/_{i}", 1000 + i)


def rename_label(made: Made) -> None:
    (made.data / "a").rename(made.data / "c")


def swap_labels(made: Made) -> None:
    for old, new in ("ax", "ba", "xb"):
        (made.data / old).rename(made.data / new)


def relabel(made: Made) -> None:
    (made.data / "a" / "00.png").rename(made.data / "b" / "00.png")


def remove(made: Made) -> None:
    (made.data / "a" / "00.png").unlink()


def change(made: Made) -> None:
    write(made.data, "a/00", 999)


def flatten(made: Made) -> None:
    for file in list(made.data.rglob("*.png")):
        file.rename(made.data / file.name)
    for label in "ab":
        (made.data / label).rmdir()


def give_a_test_set(made: Made) -> None:
    for label in "ab":
        shutil.move(made.data / label, made.data / "train" / label)
        (made.data / "test" / label).mkdir(parents=True)
    (made.data / "train" / "a" / "00.png").rename(made.data / "test" / "a" / "00.png")


CHANGES = {
    add: "10 are new (a/_0.png, a/_1.png, a/_2.png, …)",
    rename_label: "40 have another label (a is now c)",
    swap_labels: "80 have another label (a is now b, b is now a)",
    relabel: "1 has another label (a is now b)",
    remove: "1 is missing or changed (a/00.png)",
    change: "1 is new (a/00.png); 1 is missing or changed (a/00.png)",
    flatten: "80 have another label (a is now none, b is now none)",
    give_a_test_set: "1 is in another split than before (test/a/00.png)",
}
WHOLE = (add, rename_label, swap_labels, relabel, flatten, give_a_test_set)  # nothing is missing


@pytest.mark.parametrize("happen", CHANGES)
def test_data_that_changed_are_refused_until_the_user_says_how_to_go_on(made, happen, caplog):
    before = load_run_data(made.run)
    happen(made)
    with pytest.raises(InputError) as error:
        made.fit() if happen is add else load_run_data(made.run)
    assert CHANGES[happen] in str(error.value)
    assert "--changed_data ignore" in str(error.value)
    assert "\n" not in str(error.value)
    after = load_run_data(made.run, "ignore")
    assert CHANGES[happen] in caplog.text
    if happen in WHOLE:
        assert same(before, after)
        assert happen is not add or same(before, made.fit(changed_data="ignore"))
    else:
        assert sum(map(len, after[:3])) == 79
        with pytest.raises(InputError, match="missing cannot be left out"):
            made.fit(changed_data="ignore")
    if happen is add:
        with pytest.raises(InputError, match="ignore to go on with that alone, or choose"):
            made.fit()  # what would be refused is not offered
        with pytest.raises(InputError, match="What was learned stays"):
            made.fit(changed_data="accept")
    assert read_manifest(made.run.data).checksum == before.manifest.checksum


def test_other_names_another_order_and_another_place_are_the_same_data(made):
    before = load_run_data(made.run)
    for i, file in enumerate(sorted((made.data / "a").iterdir(), reverse=True)):
        file.rename(file.with_name(f"x{i:02d}.png"))
    moved = made.data.with_name("moved")
    made.data.rename(moved)
    file = made.run.config
    file.write_text(file.read_text().replace(str(made.data), str(moved)))
    assert same(before, load_run_data(made.run))


def test_data_that_were_moved_are_named_by_their_new_place(made, capsys):
    before = load_run_data(made.run)
    moved = made.data.with_name("moved")
    made.data.rename(moved)
    assert "say where they lie now with --data" in mistake(capsys, "evaluate", str(made.folder))
    with pytest.raises(InputError, match="There is nothing at .*images"):
        made.fit()
    assert same(before, load_run_data(made.run, place=str(moved)))
    with pytest.raises(InputError, match="are missing or changed"):
        load_run_data(made.run, place=str(moved / "a"))
    with pytest.raises(InputError, match="are missing or changed"):
        fit(config_of(moved / "a"), made.folder)
    assert str(made.data) in made.run.config.read_text()
    with pytest.raises(InputError, match=r"another recipe \(seed"):
        fit(config_of(moved, seed=1), made.folder)
    assert same(before, fit(config_of(moved), made.folder)[1])
    assert same(before, load_run_data(made.run))  # the run knows the new place
    shutil.rmtree(made.folder / "data")  # of which nothing says what they were
    with pytest.raises(InputError, match=r"another recipe \(data.init_args.path"):
        fit(config_of(moved / "a"), made.folder)


def test_evaluate_takes_the_new_place(made, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "smalti.commands.evaluate.write_report", lambda *given: asked.append(given) or 0
    )
    made.data.rename(made.data.with_name("moved"))
    monkeypatch.chdir(made.folder)
    assert main(["evaluate", ".", "--data", "../moved"]) == 0
    assert len(asked[0][1].test) > 0
    assert "--data is empty" in mistake(capsys, "evaluate", ".", "--data=")


def test_commands_that_take_test_images_take_the_new_place(made, capsys, tmp_path):
    words = ["interpolate", str(made.folder), "0", "1", "--out"]
    assert main([*words, str(tmp_path / "before.png")]) == 0
    moved = made.data.with_name("moved")
    made.data.rename(moved)
    after = tmp_path / "after.png"
    assert "--data PATH" in mistake(capsys, *words, str(after))
    assert main([*words, str(after), "--data", str(moved)]) == 0
    assert after.read_bytes() == (tmp_path / "before.png").read_bytes()
    assert "missing" in mistake(capsys, *words, str(after), "--data", str(moved / "a"))
    file = str(next(moved.glob("a/*.png")))
    words = ["interpolate", str(made.folder), file, file, "--data", str(moved)]
    assert "No image of the run's data is asked for" in mistake(capsys, *words)


def test_the_command_line_says_it_in_one_line(made, capsys, monkeypatch):
    add(made)
    assert "10 are new" in mistake(capsys, "evaluate", str(made.folder))
    recipe = made.folder.with_name("recipe.yaml")
    recipe.write_text(schema.dump(made.config))
    again = ("fit", str(recipe), "--out", str(made.folder))
    assert "10 are new" in mistake(capsys, *again)
    assert "one of refuse, ignore, accept" in mistake(capsys, *again, "--changed_data", "maybe")
    wrong = ("evaluate", str(made.folder), "--changed_data", "accept")
    assert "one of refuse, ignore, got" in mistake(capsys, *wrong)


def test_numbers_of_test_images_stay_those_of_the_same_images(made):
    before = images(load_run_examples(made.run, "test"))
    add(made)
    assert torch.equal(images(load_run_examples(made.run, "test")), before)
    shutil.rmtree(made.data / "a")
    with pytest.raises(InputError, match="of .* test images of .* are missing"):
        load_run_examples(made.run, "test")


# To go on with what there is now


def unfinished(made: Made) -> None:
    """The run as it is when its tokenizer has been learned."""
    shutil.rmtree(made.run.prior)
    (made.folder / "state" / "prior.ckpt").unlink()


def test_accepted_data_keep_the_split_of_what_was_there(made):
    unfinished(made)
    before = load_run_data(made.run).manifest
    old = dict(zip(map(bytes, before.fingerprints), before.splits, strict=True))
    add(made)
    for copy in "ab":  # of a test image
        row = int(np.flatnonzero(before.splits == 2)[0])
        shutil.copy(made.data / before.name(row), made.data / copy / "zz.png")
    write(made.data, "new/only", 2000)
    tokenizer = made_from(made.run.tokenizer)
    splits = made.fit(changed_data="accept")
    now = read_manifest(made.run.data)
    assert len(now) == len(before) + 13
    assert splits.condition.names == ("a", "b", "new")
    assert 2 in splits.train.conditions
    for print_, split in zip(map(bytes, now.fingerprints), now.splits, strict=True):
        assert split == old.get(print_, split)
    first = now.fingerprints[now.splits == 0][: int((before.splits == 0).sum())]
    assert (first == before.fingerprints[before.splits == 0]).all()
    assert now.earlier == (before.checksum,)
    assert made_from(made.run.tokenizer) == tokenizer  # it is not learned again
    assert load(made.folder).condition.names == ("a", "b", "new")
    assert same(made.fit(), load_run_data(made.run))


# What a stage was made from


def test_every_result_says_what_it_was_made_from(made):
    found = runs.part_checksums(made.run)
    assert set(found) == {"data", "tokenizer", "tokens", "prior"}
    assert made_from(made.run.tokenizer)["data"] == found["data"]
    assert made_from(made.run.prior)["tokenizer"] == found["tokenizer"]
    assert (
        json.loads((made.run.tokens / "tokens.json").read_text())["made_from"]["data"]
        == (found["data"])
    )


def put_tokenizer(made: Made) -> None:
    replace(made, "tokenizer")


def put_prior(made: Made) -> None:
    replace(made, "prior")


def put_both(made: Made) -> None:
    replace(made, "tokenizer")
    replace(made, "prior")


def replace(made: Made, part: str) -> None:
    shutil.rmtree(made.folder / part)
    shutil.copytree(made.folder.with_name("other") / part, made.folder / part)


@pytest.mark.parametrize("happen", [put_tokenizer, put_prior, put_both])
def test_a_part_of_another_run_is_refused(made, happen):
    happen(made)
    with pytest.raises(InputError, match=r"was made from another .*: copy the right one back"):
        made.fit()
    if happen is not put_both:  # which fit each other
        with pytest.raises(InputError, match="prior was made from another tokenizer"):
            load(made.folder)
    if happen is not put_prior:
        with pytest.raises(InputError, match="tokenizer was made from another recipe"):
            load_run_data(made.run)


@pytest.mark.parametrize("stage", ["tokenizer", "prior"])
def test_a_state_of_another_run_or_stage_is_refused(made, stage):
    for part in {"tokenizer": ("tokenizer", "tokens", "prior"), "prior": ("prior",)}[stage]:
        shutil.rmtree(made.folder / part)
    state = made.folder / "state" / f"{stage}.ckpt"
    right = state.read_bytes()
    other = {"tokenizer": "prior", "prior": "tokenizer"}[stage]
    for wrong in ("../other/state", f"{stage}.ckpt"), ("state", f"{other}.ckpt"):
        shutil.copy(made.folder.joinpath(*wrong), state)
        with pytest.raises(
            InputError, match=rf"{stage}.ckpt (was made from|is the state of) another .*: delete"
        ):
            made.fit()
        assert not (made.folder / stage).exists()
    state.write_bytes(right)
    made.fit()


def test_tokens_of_another_run_are_made_anew(made):
    wanted = runs.part_checksums(made.run)
    replace(made, "tokens")
    with pytest.raises(InputError, match="tokens are of another tokenizer"):
        load(made.folder).sample(1, prior="histogram")
    made.fit()
    assert runs.part_checksums(made.run) == wanted
    load(made.folder).sample(1, prior="histogram")


@pytest.mark.parametrize("file", ["manifest.json", "examples.parquet"])
def test_a_damaged_manifest_is_said(made, file):
    path = made.run.data / file
    content = path.read_bytes()
    for broken in b"", content[:50], content.replace(b"train", b"tests", 1):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="is damaged .*: copy it back"):
            load_run_data(made.run)
    shutil.rmtree(made.run.data)
    for use in made.fit, lambda: load_run_data(made.run):
        with pytest.raises(InputError, match="is missing, which says what data"):
            use()


# Runs that were made before all this


def age(folder: Path) -> None:
    """Takes from a run what earlier versions did not write."""
    shutil.rmtree(folder / "data")
    for part in "tokenizer", "prior":
        save_model(load_model(folder / part), folder / part)
    file = folder / "tokens" / "tokens.json"
    tokens = json.loads(file.read_text())
    for new in "checksum", "shards", "made_from":
        del tokens[new]
    file.write_text(json.dumps(tokens | {"tokenizer": checksum(folder / "tokenizer")}))


def test_an_older_run_loads_with_a_warning_and_keeps_its_split(made, caplog):
    age(made.folder)
    by_order = recipe_of(made.run).data.load_by_order()
    splits = load_run_data(made.run)
    assert same(splits, by_order)
    assert [len(examples) for examples in splits[:3]] == [68, 4, 8]
    assert "made by an earlier version" in caplog.text
    caplog.clear()
    model = load(made.folder)
    assert "prior does not say what it was made from" in caplog.text
    for prior in "learned", "histogram":
        assert model.sample(2, prior=prior).shape == (2, 3, SIZE, SIZE)
    assert same(made.fit(), by_order)
    assert same(load_run_data(made.run), by_order)
    add(made)
    with pytest.raises(InputError, match="10 are new"):
        load_run_data(made.run)


# Data of other kinds


def test_synthetic_data_are_known_by_their_parameters(tmp_path):
    config = schema.parsed(vae_recipe())
    run, _ = fit(config, tmp_path / "run")
    manifest = read_manifest(run.data)
    assert len(manifest) == 0
    assert manifest.source["init_args"]["length"] == 48
    assert made_from(run.autoencoder)["data"] == manifest.checksum
    assert len(load_run_examples(run, "test")) == 16
    load_run_data(run)
    run.config.write_text(run.config.read_text().replace("length: 48", "length: 47"))
    with pytest.raises(InputError, match=r"data.init_args.length was 48 and is 47. Restore"):
        load_run_data(run)


class Noise(Source):
    """A source of somebody's own, which says nothing of its examples."""

    seed = 0

    def load(self) -> Splits:
        generator = torch.Generator().manual_seed(Noise.seed)
        pixels = torch.randint(256, (24, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
        parts = [Pixels(part, None) for part in pixels.split(8)]
        return Splits(*parts, ImageSignal(3, (SIZE, SIZE)), None, None)

    def examples(self, split):
        return getattr(self.load(), split)


def test_a_source_that_says_nothing_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(allowed_classes, "_by_the_user", [__name__])
    config = schema.parsed({**vae_recipe(), "data": {"class_path": f"{__name__}.Noise"}})
    fit(config, tmp_path / "run")
    fit(config, tmp_path / "run")
    monkeypatch.setattr(Noise, "seed", 1)
    with pytest.raises(InputError, match="24 are new .*; 24 are missing or changed"):
        fit(config, tmp_path / "run")


# Runs within their data, and many runs


@pytest.mark.parametrize("place", [".", "run", "deep/er/run", "link/run"])
def test_a_run_inside_its_data_is_refused(tmp_path, place):
    data = tmp_path / "images"
    for i in range(6):
        write(data, f"a/{i}", i)
    (tmp_path / "elsewhere").symlink_to(data)
    out = tmp_path / "elsewhere" / "run" if place == "link/run" else data / place
    for use in (
        lambda: fit(config_of(data), out),
        lambda: head_to_head(config_of(data), ["fsq"], bits=[4], seeds=1, steps=1, folder=out),
    ):
        with pytest.raises(InputError, match="lies inside the data"):
            use()
    assert {path.name for path in data.rglob("*")} == {"a", *(f"{i}.png" for i in range(6))}


def test_compared_runs_have_the_same_data(made, tmp_path):
    how = {"bits": [4], "seeds": 1, "steps": 4, "folder": tmp_path / "compared"}
    before = head_to_head(made.config, ["fsq"], **how)
    add(made)
    with pytest.raises(InputError, match="10 are new"):
        head_to_head(made.config, ["fsq", "ste"], **how)
    after = head_to_head(made.config, ["fsq", "ste"], changed_data="ignore", **how)
    assert after.outcomes[0] == before.outcomes[0]
    one, other = (
        read_manifest(folder / "data") for folder in sorted((tmp_path / "compared").iterdir())
    )
    assert one.checksum == other.checksum
    report = json.loads((tmp_path / "compared" / "fsq-4-bits-seed-0" / "report.json").read_text())
    assert report["made_from"]["data"] == one.checksum


def test_a_recipe_as_it_is_written_is_no_part_of_what_a_run_is_made_from(made):
    """Where the data lie, hardware and the size of the report may change."""
    recipe = yaml.safe_load(schema.dump(made.config))
    recipe["hardware"]["workers"] = 1
    recipe["evaluation"]["samples"] = 3
    fit(schema.parsed(recipe), made.folder)
