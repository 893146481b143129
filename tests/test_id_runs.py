"""Runs that give their examples IDs, and `smalti ids`: from a table of vectors to ids.parquet."""

from __future__ import annotations

import csv
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import smalti
from items import items_recipe, write_items
from smalti.artifacts import checksum, load_model
from smalti.cli import main
from smalti.errors import InputError
from smalti.files import sha256
from smalti.ids import IdTable, PrefixTree
from smalti.item_ids import make_ids
from smalti.recipes import schema
from smalti.runs import Run, fit, load_run_data
from tiny import clocks_recipe, vae_recipe, write_recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("items")
    write_items(folder / "items.parquet")
    return folder


@pytest.fixture(scope="module")
def run(folder):
    """A run by the command line, with report."""
    recipe = write_recipe(
        folder / "ids.yaml", items_recipe(folder / "items.parquet", "nearest", (16, 32))
    )
    assert main(["fit", str(recipe), "--out", str(folder / "run")]) == 0
    return Run(folder / "run")


@pytest.fixture(scope="module")
def small(folder):
    """A run of 48 codes, with a further one."""
    return fitted(folder / "items.parquet", folder / "small")


@pytest.fixture
def copied(small, tmp_path):
    """The same, to be changed."""
    shutil.copytree(small.folder, tmp_path / "run")
    return Run(tmp_path / "run")


def fitted(data, out, collisions="index", **changes):
    recipe = {**items_recipe(data, collisions), **changes}
    return fit(schema.parsed(recipe), out)[0]


def said(capsys):
    found = capsys.readouterr()
    assert found.err.count("\n") <= 1
    return found.out, found.err


def test_a_fit_ends_with_an_id_for_each_item_of_all_splits(run):
    table = IdTable.read(run.ids)
    assert sorted(table.item_ids.to_pylist()) == sorted(f"item-{i}" for i in range(240))
    assert len(table.tree.keys[-1]) == 240 and table.resolved.any()
    assert table.made_from["tokenizer"] == checksum(run.tokenizer)
    assert json.loads((run.folder / "report.json").read_text())["made_from"]["ids"] == sha256(
        run.ids
    )


def test_ids_are_the_codes_that_the_model_gives(run, folder):
    table, model = IdTable.read(run.ids), smalti.load(run.folder)
    rows = pq.read_table(folder / "items.parquet").to_pylist()
    codes = model.encode(torch.tensor([row["embedding"] for row in rows]))[:, 0]
    for row, own in zip(rows, codes.tolist(), strict=True):
        number = table.row(row["item_id"])
        assert table.own[number].tolist() == own
        if not table.resolved[number]:
            assert table.codes[number].tolist() == own
    # Each of them decodes.
    assert model.decode(torch.from_numpy(table.codes).long()[:, None]).isfinite().all()


def test_a_further_code_sets_those_apart_who_share_theirs(small):
    table = IdTable.read(small.ids)
    assert len(PrefixTree(table.own, (6, 8)).keys[-1]) <= 48
    assert len(table.tree.keys[-1]) == 240 and table.codes.shape == (240, 3)


def test_collisions_may_stay(copied):
    """Of the same tokenizer, as one that was given them by hand."""
    tokenizer, splits = load_model(copied.tokenizer), load_run_data(copied)
    table = make_ids(tokenizer, splits, "none", {})
    assert table.own.tolist() == table.codes.tolist() == IdTable.read(copied.ids).own.tolist()


def test_what_was_given_is_not_given_again_and_what_was_lost_is_given_anew(folder, copied):
    before, at = copied.ids.read_bytes(), copied.ids.stat().st_mtime_ns
    fitted(folder / "items.parquet", copied.folder)
    assert copied.ids.stat().st_mtime_ns == at
    copied.ids.unlink()
    fitted(folder / "items.parquet", copied.folder)
    assert copied.ids.read_bytes() == before


def test_a_fit_that_is_killed_while_ids_are_written_leaves_none(folder, copied, monkeypatch):
    def killed(path, *_, **__):
        path.write_bytes(b"PAR1 half of it")
        raise KeyboardInterrupt

    copied.ids.unlink()
    monkeypatch.setattr("smalti.ids.table.write_rows", killed)
    with pytest.raises(KeyboardInterrupt):
        fitted(folder / "items.parquet", copied.folder)
    assert not copied.ids.exists()


def test_data_that_grew_change_no_id(tmp_path):
    data = write_items(tmp_path / "items.parquet", 200)
    made = fitted(data, tmp_path / "run")
    before = IdTable.read(made.ids)
    write_items(tmp_path / "items.parquet", 240)
    with pytest.raises(InputError, match="40 are new"):
        fitted(data, tmp_path / "run")
    recipe = schema.parsed(items_recipe(data))
    fit(recipe, tmp_path / "run", changed_data="accept")
    after = IdTable.read(made.ids)
    assert len(after) == 240
    assert after.item_ids[:200].equals(before.item_ids)
    assert after.codes[:200].tolist() == before.codes.tolist()
    assert after.made_from["data"] != before.made_from["data"]


def test_more_steps_of_the_tokenizer_give_ids_anew(folder, copied):
    recipe = items_recipe(folder / "items.parquet")
    recipe["tokenizer"]["training"]["steps"] = 40
    fit(schema.parsed(recipe), copied.folder, extend=True)
    assert IdTable.read(copied.ids).made_from["tokenizer"] == checksum(copied.tokenizer)


def test_another_way_with_collisions_is_another_recipe(folder, run):
    with pytest.raises(InputError, match="ids.collisions is nearest there and none here"):
        recipe = items_recipe(folder / "items.parquet", "none", (16, 32))
        fit(schema.parsed(recipe), run.folder)


def test_ids_of_another_run_are_refused(folder, run, copied, capsys):
    shutil.copy(run.ids, copied.ids)
    capsys.readouterr()
    assert main(["ids", str(copied.folder), "item-3"]) == 2
    error = said(capsys)[1]
    assert "ids.parquet was made from another tokenizer than this run has" in error
    with pytest.raises(InputError, match="was made from another tokenizer and another recipe than"):
        fitted(folder / "items.parquet", copied.folder)
    assert copied.ids.read_bytes() == run.ids.read_bytes()  # nothing is lost


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (lambda data: {**clocks_recipe(), "ids": {}}, "a row of codes, got 4×4 tokens per image"),
        (lambda data: {**vae_recipe(), "ids": {}}, "got ids for a continuous autoencoder"),
        (lambda data: items_recipe(data, "nearest"), "240 items cannot have an ID each of 48 IDs"),
        (lambda data: items_recipe(data, "first"), "ids.collisions"),
    ],
    ids=["grid", "continuous", "too few", "unknown"],
)
def test_what_can_have_no_ids_is_said_before_anything_is_learned(folder, tmp_path, recipe, words):
    with pytest.raises(InputError, match=words) as error:
        fit(schema.parsed(recipe(folder / "items.parquet")), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_lookup_of_an_item(run, capsys):
    table = IdTable.read(run.ids)
    row = int(table.resolved.nonzero()[0][0])
    name, codes = table.item_ids[row].as_py(), table.codes[row].tolist()
    capsys.readouterr()
    assert main(["ids", str(run.folder), name]) == 0
    lines = said(capsys)[0].splitlines()
    assert lines[0] == f"{name}  <a_{codes[0]}><b_{codes[1]}>  {codes[0]},{codes[1]}"
    own = ",".join(map(str, table.own[row]))
    assert lines[1] == f"  resolved: the tokenizer gave {own}"
    assert lines[2].startswith(f"  {codes[0]} is the beginning of ")


def test_a_lookup_of_a_prefix_and_of_a_whole_id(run, capsys):
    table = IdTable.read(run.ids)
    first, second = table.codes[5].tolist()
    names = table.items([first])
    for asked in (f"{first},", f"<a_{first}>"):
        capsys.readouterr()
        assert main(["ids", str(run.folder), asked]) == 0
        lines = said(capsys)[0].splitlines()
        assert lines[0] == f"{len(names)} item{'s' if len(names) > 1 else ''} below {first}"
        assert [line.split()[0] for line in lines[1:] if "more" not in line] == names[:20]
    assert main(["ids", str(run.ids), f"{first},{second}"]) == 0
    assert table.item_ids[5].as_py() in said(capsys)[0]
    assert main(["ids", str(run.folder)]) == 0
    assert said(capsys)[0].startswith("240 items, 240 IDs of 16×32 codes; ")


def test_what_is_found_goes_to_a_file(run, tmp_path, capsys):
    table = IdTable.read(run.ids)
    first = int(table.codes[0, 0])
    names = table.items([first])
    for out in ("found.json", "found.csv"):
        assert main(["ids", str(run.folder), f"{first},", "--out", str(tmp_path / out)]) == 0
    found = json.loads((tmp_path / "found.json").read_text())["items"]
    assert [item["item_id"] for item in found] == names
    assert found[0]["codes"] == table.codes[table.row(names[0])].tolist()
    with (tmp_path / "found.csv").open() as file:
        assert [row["item_id"] for row in csv.DictReader(file)] == names
    capsys.readouterr()
    assert main(["ids", str(run.folder), "--out", str(tmp_path / "found.csv")]) == 2
    assert "replace it with --overwrite" in said(capsys)[1]
    assert main(["ids", str(run.folder), "--out", str(tmp_path / "found.json")]) == 0
    assert len(json.loads((tmp_path / "found.json").read_text())["items"]) == 240


def test_an_item_that_is_named_by_a_number_goes_before_a_prefix(tmp_path, capsys):
    IdTable.of(["3", "b"], [[1, 0], [3, 1]], (4, 4), "none").write(tmp_path / "ids.parquet")
    assert main(["ids", str(tmp_path / "ids.parquet"), "3"]) == 0
    out = said(capsys)[0]
    assert out.startswith("3  <a_1><b_0>  1,0\n") and out.endswith("ids.parquet 3,\n")
    assert main(["ids", str(tmp_path / "ids.parquet"), "3,"]) == 0
    assert said(capsys)[0] == "1 item below 3\n  b  <a_3><b_1>  3,1\n"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("itme-42", "There is no item 'itme-42' among 240 items: the nearest names are item-42"),
        ("99,0", "Code 1 of an ID lies between 0 and 15, got 99"),
        ("1,2,3", "An ID has 2 codes, got 3"),
        ("<b_1>", "An ID begins with its first level"),
    ],
)
def test_what_is_not_there_is_one_line(run, capsys, asked, words):
    capsys.readouterr()
    assert main(["ids", str(run.folder), asked]) == 2
    assert words in said(capsys)[1]


def test_a_prefix_that_no_item_has_is_one_line(run, capsys):
    table = IdTable.read(run.ids)
    first = int(table.codes[0, 0])
    free = next(k for k in range(32) if k not in table.tree.allowed([first]))
    assert main(["ids", str(run.folder), f"{first},{free}"]) == 2
    assert f"No item has the prefix {first},{free}: try {first}," in said(capsys)[1]


def test_a_run_without_ids_says_how_to_get_them(copied, tmp_path, capsys):
    copied.ids.unlink()
    capsys.readouterr()
    assert main(["ids", str(copied.folder), "item-3"]) == 2
    assert "has no ids.parquet: give the same smalti fit again" in said(capsys)[1]
    config = copied.config.read_text()
    copied.config.write_text(config.replace("ids:\n  collisions: index\n", "ids: null\n"))
    assert main(["ids", str(copied.folder), "item-3"]) == 2
    assert "has no ids.parquet: fit with ids: {collisions: index}" in said(capsys)[1]
    assert main(["ids", str(tmp_path / "nothing")]) == 2


def encoded(run, new, ids, out, *options):
    return main(
        ["encode", str(run.folder), str(new), "--against", str(ids), "--out", str(out), *options]
    )


@pytest.mark.parametrize("which", ["run", "small"])
def test_items_that_come_later_get_ids_and_change_none(request, which, tmp_path, capsys):
    made = request.getfixturevalue(which)
    new = write_items(tmp_path / "new.parquet", 60, start=220)
    capsys.readouterr()
    assert encoded(made, new, made.ids, tmp_path / "new-ids.parquet") == 0
    out = said(capsys)[0]
    assert "280 items, 280 IDs of" in out
    assert out.endswith("; 40 items are new; 20 items had an ID already, which stays\n")
    before, after = IdTable.read(made.ids), IdTable.read(tmp_path / "new-ids.parquet")
    assert after.item_ids.to_pylist() == before.item_ids.to_pylist() + [
        f"item-{i}" for i in range(240, 280)
    ]
    assert after.codes[:240].tolist() == before.codes.tolist()
    assert len(after.tree.keys[-1]) == 280 and after.made_from == before.made_from
    # Their own codes are those of the model.
    model, rows = smalti.load(made.folder), pq.read_table(new).to_pylist()[20:]
    codes = model.encode(torch.tensor([row["embedding"] for row in rows]))[:, 0]
    assert after.own[240:].tolist() == codes.tolist()
    # The new table takes further items, in its own place too.
    newer = write_items(tmp_path / "newer.parquet", 10, start=280)
    there = tmp_path / "new-ids.parquet"
    assert encoded(made, newer, there, there) == 0
    last = IdTable.read(there)
    assert len(last) == 290 and last.codes[:280].tolist() == after.codes.tolist()


def test_the_run_takes_the_longer_table_for_its_own(folder, copied, tmp_path):
    new = write_items(tmp_path / "new.parquet", 10, start=240)
    assert encoded(copied, new, copied.ids, copied.ids) == 0
    before = copied.ids.read_bytes()
    fitted(folder / "items.parquet", copied.folder)
    assert copied.ids.read_bytes() == before
    assert len(IdTable.read(copied.ids)) == 250


def without(column, path):
    pq.write_table(pq.read_table(path).drop([column]), path)
    return path


def twice(path):
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table, table]), path)
    return path


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda new: without("item_id", new), [], "got rows that are only numbered (0, …)"),
        (twice, [], "id comes twice"),
        (lambda new: new, ["--any_size"], "any_size"),
    ],
    ids=["no names", "twice", "any size"],
)
def test_new_items_that_cannot_have_ids_are_one_line(
    small, tmp_path, capsys, change, options, words
):
    new = change(write_items(tmp_path / "new.parquet", 10, start=240))
    capsys.readouterr()
    assert encoded(small, new, small.ids, tmp_path / "new-ids.parquet", *options) == 2
    assert words in said(capsys)[1]
    assert not (tmp_path / "new-ids.parquet").exists()


def test_new_ids_against_those_of_another_run_are_refused(run, small, tmp_path, capsys):
    new, out = write_items(tmp_path / "new.parquet", 10, start=240), tmp_path / "new-ids.parquet"
    capsys.readouterr()
    assert encoded(small, new, run.ids, out) == 2
    error = said(capsys)[1]
    assert "was made from another tokenizer than this run has: give the ids.parquet of" in error
    assert encoded(small, new, new, out) == 2
    assert "holds no whole IDs (it says nothing of IDs, its columns are item_id," in said(capsys)[1]
    assert encoded(small, new, small.ids, tmp_path / "new-ids.npz") == 2
    assert "--out takes the name of a .parquet file" in said(capsys)[1]
    assert not out.exists()
