"""Encoding with a wider beam than the tokenizer's own: from Python, and by `smalti encode`."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import smalti
from items import items_recipe, write_items
from mistakes import mistake
from smalti.cli import main
from smalti.errors import InputError
from smalti.ids import IdTable
from smalti.quantizers.beam_width import beam_of
from smalti.recipes import schema
from smalti.runs import Run, fit
from tiny import clocks_recipe, vae_recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("beam")


@pytest.fixture(scope="module")
def run(folder):
    """A run of 6×8 codes without a network, whose own beam is 1."""
    data = write_items(folder / "items.parquet", groups=80)
    return fit(schema.parsed(items_recipe(data, fitted=True)), folder / "run")[0]


def vectors(path):
    return torch.tensor(pq.read_table(path)["embedding"].to_pylist())


def indices(path):
    with np.load(path) as arrays:
        return torch.from_numpy(arrays["indices"].astype(np.int64))


def test_a_model_encodes_with_another_beam_and_keeps_its_own(run, folder):
    model, x = smalti.load(run.folder), vectors(folder / "items.parquet")
    greedy, wide = model.encode(x), model.encode(x, beam=5)
    assert torch.equal(model.encode(x, beam=1), greedy)
    assert torch.equal(model.encode(x), greedy) and beam_of(model.autoencoder) == 1
    errors = [(model.decode(codes) - x).square().sum(1) for codes in (greedy, wide)]
    assert errors[1].mean() < 0.99 * errors[0].mean()
    assert (errors[1] <= errors[0] + 1e-5).float().mean() > 0.99
    model.autoencoder.quantizer.beam = 5
    assert torch.equal(model.encode(x), wide) and torch.equal(model.encode(x, beam=1), greedy)
    with pytest.raises(InputError, match="finite"):
        model.encode(x * torch.nan, beam=3)
    assert model.autoencoder.quantizer.beam == 5


def test_files_are_encoded_with_a_beam_one_by_one_and_by_folder(run, folder, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    for number, name in enumerate("ab"):
        write_items(many / f"{name}.parquet", 100, start=100 * number, groups=80)
    model = smalti.load(run.folder)
    wanted = torch.cat([model.encode(vectors(path), beam=5) for path in sorted(many.iterdir())])
    for name, words in ("folder", [many]), ("files", sorted(many.iterdir())):
        out = tmp_path / f"{name}.npz"
        options = ["--beam", "5", "--out", str(out)]
        assert main(["encode", str(run.folder), *map(str, words), *options]) == 0
        assert torch.equal(indices(out), wanted)
    plain, one = tmp_path / "plain.npz", tmp_path / "one.npz"
    words = ["encode", str(run.folder), str(many)]
    assert main([*words, "--out", str(plain)]) == 0
    assert main([*words, "--out", str(one), "--beam", "1"]) == 0
    assert torch.equal(indices(plain), indices(one)) and not torch.equal(indices(one), wanted)


def test_new_items_with_another_beam_change_no_id_and_the_table_says_it(
    run, folder, tmp_path, capsys, caplog
):
    new = write_items(tmp_path / "new.parquet", 60, start=220, groups=80)
    ids, out = run.ids, tmp_path / "new-ids.parquet"

    def encoded(ids, *options):
        caplog.clear()
        words = ["--against", str(ids), "--out", str(out), *options]
        assert main(["encode", str(run.folder), str(new), *words]) == 0
        return [record.getMessage() for record in caplog.records]

    assert not encoded(ids) and IdTable.read(out).beams == ()
    assert not encoded(ids, "--beam", "1") and IdTable.read(out).beams == ()
    (line,) = encoded(ids, "--beam", "5")
    assert f"The codes in {ids} were searched with a beam of 1, those of new items" in line
    assert "copies of earlier items may get other codes. Leave --beam out" in line
    before, after = IdTable.read(ids), IdTable.read(out)
    assert after.item_ids[:240].equals(before.item_ids)
    assert after.codes[:240].tolist() == before.codes.tolist()
    assert after.own[:240].tolist() == before.own.tolist()
    codes = smalti.load(run.folder).encode(vectors(new)[20:], beam=5)[:, 0]
    assert after.own[240:].tolist() == codes.tolist()
    # The table knows it, and hands it on.
    assert after.beams == (5,) and before.beams == ()
    capsys.readouterr()
    assert main(["ids", str(out)]) == 0
    assert capsys.readouterr().out.endswith("; codes of some searched with a beam of 5\n")
    assert not encoded(out, "--beam", "5") and IdTable.read(out).beams == (5,)
    new = write_items(tmp_path / "newer.parquet", 10, start=280, groups=80)
    (line,) = encoded(out, "--beam", "3")
    assert "with a beam of 1 and 5, those of new items are with one of 3" in line
    assert IdTable.read(out).beams == (3, 5)
    run_again = Run(shutil.copytree(run.folder, tmp_path / "run"))
    shutil.copy(out, run_again.ids)
    assert main(["ids", str(run_again.folder)]) == 0  # still one of this run's


@pytest.mark.parametrize(
    ("beam", "words"),
    [
        ("0", "beam is a whole number from 1 to 65536, got 0: 1 is greedy search."),
        ("65537", "beam is a whole number from 1 to 65536, got 65537"),
        ("five", "--beam takes a value of the type int, got five"),
    ],
)
def test_a_beam_out_of_range_is_one_line(run, folder, tmp_path, capsys, beam, words):
    out = tmp_path / "tokens.npz"
    data = str(folder / "items.parquet")
    line = mistake(capsys, "encode", str(run.folder), data, "--beam", beam, "--out", str(out))
    assert words in line and not out.exists()


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (clocks_recipe, "such as those of a ResidualQuantizer, got a VectorQuantizer: leave beam"),
        (vae_recipe, "such as those of a ResidualQuantizer, got a model without tokens: leave"),
    ],
)
def test_a_model_without_a_beam_says_so_in_one_line(recipe, words, tmp_path, capsys):
    run = fit(schema.parsed(recipe()), tmp_path / "run")[0]
    out = tmp_path / "tokens.npz"
    line = mistake(capsys, "encode", str(run.folder), "no.png", "--beam", "5", "--out", str(out))
    assert words in line
    model = smalti.load(run.folder)
    with pytest.raises(InputError, match="A beam searches sums of codewords"):
        model.encode(torch.zeros(1, *model.signal.shape), beam=5)
