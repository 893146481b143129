"""`smalti decode` of IDs: the vector of each item, in order and by name, or why there is none."""

from __future__ import annotations

import logging

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import smalti
from items import items_recipe, write_items
from mistakes import mistake
from smalti.artifacts import checksum, load_model
from smalti.checksums import check_made_from
from smalti.cli import main
from smalti.ids import IdTable
from smalti.item_ids import make_ids
from smalti.recipes import schema
from smalti.runs import fit, load_run_data
from smalti.semantic_ids import SemanticIDs
from tiny import clocks_recipe

FURTHER = "The last code of each ID only numbers the items that share the others: it is left out."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("decoded")


@pytest.fixture(scope="module")
def data(folder):
    return write_items(folder / "items.parquet", groups=80)


@pytest.fixture(scope="module")
def run(folder, data):
    """A run without a network, whose IDs have a further code."""
    recipe = items_recipe(data, sizes=(16, 32), fitted=True)
    return fit(schema.parsed(recipe), folder / "run")[0]


@pytest.fixture(scope="module")
def tables(folder, run, data):
    """Files of IDs of the run, by what became of collisions, and of items that came later."""
    tokenizer, splits = load_model(run.tokenizer), load_run_data(run)
    paths = {"index": run.ids}
    for collisions in ("nearest", "none"):
        table = make_ids(tokenizer, splits, collisions, {"tokenizer": checksum(run.tokenizer)})
        paths[collisions] = folder / f"{collisions}.parquet"
        table.write(paths[collisions])
    new = write_items(folder / "new.parquet", 60, start=220, groups=80)
    paths["later"] = folder / "later.parquet"
    words = ["--against", str(run.ids), "--out", str(paths["later"])]
    assert main(["encode", str(run.folder), str(new), *words]) == 0
    return paths


def vectors(path):
    return np.array(pq.read_table(path)["embedding"].to_pylist(), np.float32)


@pytest.mark.parametrize("which", ["index", "nearest", "none", "later"])
def test_ids_decode_to_the_vectors_of_their_items(
    run, tables, data, which, tmp_path, capsys, caplog
):
    out, array = tmp_path / "vectors.parquet", tmp_path / "vectors.npy"
    caplog.set_level(logging.INFO, "smalti.commands.decode")
    assert main(["decode", str(run.folder), str(tables[which]), "--out", str(out)]) == 0
    said = [record.getMessage() for record in caplog.records]
    assert said == ([FURTHER] if which in ("index", "later") else [])
    table, made = IdTable.read(tables[which]), vectors(out)
    assert pq.read_table(out)["item_id"].to_pylist() == table.item_ids.to_pylist()
    assert made.shape == (280 if which == "later" else 240, 6)
    # Each is the sum of its codewords, whatever the tokenizer alone would have given it.
    stages = load_model(run.tokenizer).quantizer.stages
    books = [stage.codebook.weight.detach().numpy() for stage in stages]
    wanted = books[0][table.codes[:, 0]] + books[1][table.codes[:, 1]]
    assert np.allclose(made, wanted, atol=1e-5)
    assert (which == "nearest") == (table.codes[:, :2] != table.own).any()
    # By name it is the reconstruction of the item, where no ID was moved.
    names = pq.read_table(data)["item_id"].to_pylist()
    row_of = {name: row for row, name in enumerate(table.item_ids.to_pylist())}
    rows = np.array([row_of[name] for name in names])
    stays = (table.codes[:, :2] == table.own).all(1)[rows]
    x_hat = smalti.load(run.folder).reconstruct(torch.from_numpy(vectors(data))).numpy()
    assert stays.sum() > 20 and np.allclose(made[rows][stays], x_hat[stays], atol=1e-5)
    assert main(["decode", str(run.folder), str(tables[which]), "--out", str(array)]) == 0
    assert np.array_equal(np.load(array), made)


def test_ids_of_another_run_or_other_codebooks_are_refused(run, tables, tmp_path, capsys, data):
    out = tmp_path / "vectors.parquet"

    def refused(path, folder=run.folder):
        line = mistake(capsys, "decode", str(folder), str(path), "--out", str(out))
        assert not out.exists()
        return line

    x = vectors(data)
    estimator = SemanticIDs((16, 32), random_state=0).fit(x)
    path = tmp_path / "others.parquet"
    estimator.id_table(range(len(x)), x).write(path)
    mend = "give the ids.parquet of this run, or the run that it is of."
    assert f"was made from another tokenizer than this run has: {mend}" in refused(path)
    IdTable.of(["cup", "mug"], [[3, 1], [0, 7]], (16, 8)).write(tmp_path / "sizes.parquet")
    check_made_from(str(tmp_path / "sizes.parquet"), {}, {}, mend)  # warns, and no more
    line = refused(tmp_path / "sizes.parquet")
    assert f"holds IDs of 16×8 codes, but this run makes those of 16×32: {mend}" in line
    # What is left of a table that another program wrote cannot be trusted.
    pq.write_table(pq.read_table(run.ids).replace_schema_metadata(None), path)
    assert "holds no whole IDs (it says nothing of IDs" in refused(path)
    clocks = fit(schema.parsed(clocks_recipe()), tmp_path / "clocks")[0]
    assert mend in refused(run.ids, clocks.folder)
    line = refused(tmp_path / "sizes.parquet", clocks.folder)
    assert "holds IDs of 16×8 codes, but an ID is a row of codes, got" in line and mend in line
    smalti.load(run.folder).save(tmp_path / "model")
    assert "got the IDs" in (line := refused(run.ids, tmp_path / "model"))
    assert line.endswith("and a model without a run: give the run.\n")
