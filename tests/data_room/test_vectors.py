"""Vectors from files of numbers and tables: what is found, what is left out, what is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import torch

from smalti.data.source import FOUND
from smalti.errors import InputError
from smalti.modalities.vector import Vectors

N, D = 60, 4


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("SMALTI_NO_CACHE", raising=False)
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


IDS = [f"item {i}" for i in range(N)]


def table(x, **columns) -> pa.Table:
    return pa.table({"item_id": IDS[: len(x)], "embedding": list(x), **columns})


def loaded(path, **options):
    """All vectors by the name of their item, and the splits."""
    splits = Vectors(str(path), **options).load()
    values = [row for part in splits[:3] for row in part.__getitems__(range(len(part))).x]
    names = map(str, splits.manifest.names)
    return dict(zip(names, values, strict=True)), splits


def refused(path, match: str, **options) -> str:
    with pytest.raises(InputError, match=match) as told:
        Vectors(str(path), **options).load()
    assert "\n" not in str(told.value)
    return str(told.value)


def written(kind: str, folder: Path, x: np.ndarray) -> Path:
    """Writes the same vectors as a file of another kind."""
    path = folder / f"items{kind.partition(' ')[0]}"
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), D)
    columns = {f"e{i}": x[:, i] for i in range(D)}
    match kind:
        case ".parquet":
            pq.write_table(table(x), path)
        case ".parquet of fixed lists":
            pq.write_table(pa.table({"id": IDS, "v": fixed}), path, row_group_size=17)
        case ".parquet of columns":
            pq.write_table(pa.table({"id": IDS, **columns}), path)
        case ".npz":
            np.savez(path, item_id=np.array(IDS), embedding=x)
        case ".npz compressed":
            np.savez_compressed(path, id=np.array(IDS), embedding=x.astype(">f8"))
        case ".csv":
            pa.csv.write_csv(pa.table({"id": IDS, **columns}), path)
        case ".csv with semicolons":
            lines = [";".join([name, *map(str, row)]) for name, row in zip(IDS, x, strict=True)]
            path.write_text("\n".join(["id;0;1;2;3", *lines]))
        case ".csv of lists":
            rows = [f'{name},"{row.tolist()}"' for name, row in zip(IDS, x, strict=True)]
            path.write_text("\n".join(["id,embedding", *rows]))
        case ".tsv of arrays":
            texts = [np.array2string(row, precision=17) for row in x.astype(float)]
            rows = [f'{name}\t"{text}"' for name, text in zip(IDS, texts, strict=True)]
            path.write_text("\n".join(["id\tembedding", *rows]))
        case ".tsv":
            pa.csv.write_csv(
                pa.table({"id": IDS, **columns}), path, pa.csv.WriteOptions(delimiter="\t")
            )
        case ".arrow" | ".ipc":
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table(x).schema) as out:
                out.write_table(table(x), max_chunksize=23)
        case ".arrow stream":
            with pa.OSFile(str(path), "wb") as file:
                with pa.ipc.new_stream(file, table(x).schema) as out:
                    out.write_table(table(x))
        case ".feather":
            pa.feather.write_feather(table(x), path, compression="zstd")
    return path


KINDS = [
    *(".parquet", ".parquet of fixed lists", ".parquet of columns", ".npz", ".npz compressed"),
    *(".csv", ".csv with semicolons", ".tsv", ".arrow", ".arrow stream", ".ipc", ".feather"),
    *(".csv of lists", ".tsv of arrays"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_vectors_are_read_from_every_kind_of_file(kind, folder, x):
    """And are the same examples: with the same fingerprints, in the same splits."""
    found, splits = loaded(written(kind, folder, x))
    assert splits.signal.channels == D
    assert found.keys() == set(IDS)
    for name, row in zip(IDS, x, strict=True):
        assert torch.equal(found[name], torch.from_numpy(row))
    np.save(folder / "plain.npy", x)
    plain = Vectors(str(folder / "plain.npy")).load().manifest
    assert (plain.fingerprints == splits.manifest.fingerprints).all()
    assert (plain.splits == splits.manifest.splits).all()


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", "i1"])
def test_numbers_of_any_size_become_float32(dtype, folder, x):
    stored = (10 * x).astype(dtype)
    np.save(folder / "a.npy", stored)
    found, _ = loaded(folder / "a.npy", embedding="embedding")
    rows = torch.stack([found[str(i)] for i in range(N)])
    assert rows.dtype == torch.float32
    assert np.array_equal(rows.numpy(), stored.astype(np.float32))


def test_an_npy_is_mapped_and_a_table_is_converted_once(folder, x, monkeypatch):
    np.save(folder / "a.npy", x)
    splits = Vectors(str(folder / "a.npy")).load()
    assert isinstance(splits.train.stored, np.memmap)
    pq.write_table(table(x), folder / "b.parquet")
    first = Vectors(str(folder / "b.parquet")).load()
    assert isinstance(first.train.stored.base, np.memmap)
    monkeypatch.setattr("smalti.modalities.vector.conversion._fill", None)  # not again
    again = Vectors(str(folder / "b.parquet")).load()
    assert torch.equal(again.train[3].x, first.train[3].x)
    monkeypatch.undo()
    monkeypatch.setenv("SMALTI_NO_CACHE", "1")
    assert torch.equal(Vectors(str(folder / "b.parquet")).load().train[3].x, first.train[3].x)


def test_files_named_after_splits_are_these(folder, x, caplog):
    caplog.set_level(logging.INFO, logger=FOUND)
    pq.write_table(table(x[:40]), folder / "train-0.parquet")
    rest = table(x[40:]).set_column(0, "item_id", pa.array(IDS[40:]))
    pq.write_table(rest, folder / "test-0.parquet")
    _, splits = loaded(folder)
    assert len(splits.test) == 20
    assert len(splits.train) + len(splits.validation) == 40
    assert "found 60 vectors in" in caplog.text
    assert "vectors of 4 dimensions from embedding, named by item_id" in caplog.text
    assert len(loaded(folder, splits="none")[1].test) < 20


def test_rows_without_ids_are_named_by_their_numbers(folder, x):
    np.save(folder / "train.npy", x)
    assert loaded(folder / "train.npy")[0].keys() == set(map(str, range(N)))
    np.save(folder / "test.npy", x[:10] + 1)
    found, _ = loaded(folder)
    assert found.keys() == {f"train:{i}" for i in range(N)} | {f"test:{i}" for i in range(10)}
    (folder / "test.npy").rename(folder / "train-2.npy")
    found, _ = loaded(folder)
    assert {"train.npy:59", "train-2.npy:9"} <= found.keys()


def test_a_data_set_of_the_hub(folder, x, monkeypatch):
    import datasets

    given = datasets.DatasetDict(
        {
            "train": datasets.Dataset(table(x[:50])),
            "test": datasets.Dataset(table(x[50:], item_id=pa.array(IDS[50:]))),
        }
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda name: given)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(folder)
    found, splits = loaded("owner/items")
    assert len(splits.test) == 10
    assert torch.equal(found["item 55"], torch.from_numpy(x[55]))


# Columns


def test_the_embedding_is_found_where_there_is_one_way(folder, x):
    path = folder / "a.parquet"
    other = pa.array([[1.0 * i, 2.0] for i in range(N)])
    for columns, found in (
        ({"v": list(x), "rating": pa.array([1.5] * N)}, ("v",)),
        ({"embedding": list(x), "other": other}, ("embedding",)),
        ({"e1": x[:, 0], "e2": x[:, 1], "price": x[:, 2]}, ("e1", "e2")),
        ({"gene": x[:, 0], "other": x[:, 1], "text": IDS}, ("gene", "other")),
    ):
        pq.write_table(pa.table(columns), path)
        splits = Vectors(str(path)).load()
        rows = columns[found[0]] if len(found) == 1 else np.stack([columns[n] for n in found], 1)
        assert splits.signal.channels == len(rows[0])
    pq.write_table(pa.table({"a": list(x), "b": other, "id": IDS}), path)
    said = refused(path, "several columns of vectors, a, b")
    assert "--data.embedding a" in said
    assert loaded(path, embedding="b")[1].signal.channels == 2
    pq.write_table(pa.table({f"{p}{i}": x[:, i] for p in "pq" for i in range(D)}), path)
    refused(path, r"several groups of numbered columns, p0 …, q0 ….*--data.embedding 'p\*'")
    assert Vectors(str(path), embedding="q*").load().signal.channels == D
    assert Vectors(str(path), embedding=["p1", "q1"]).load().signal.channels == 2


def test_categories_and_labels_are_found_or_named(folder, x, caplog):
    caplog.set_level(logging.INFO, logger=FOUND)
    columns = {
        "department": ["tops", "shoes", "hats"] * 20,
        "rating": [1, 2] * 30,
        "text": [f"all different {i}" for i in range(N)],
    }
    pq.write_table(table(x, **columns), folder / "a.parquet")
    splits = Vectors(str(folder / "a.parquet")).load()
    assert splits.condition is None
    assert "categories: department, rating" in caplog.text
    splits = Vectors(str(folder / "a.parquet"), label="department").load()
    assert splits.condition.names == ("hats", "shoes", "tops")
    pq.write_table(table(x, other=list(x), **columns), folder / "a.parquet")
    for match, options in (
        ("no column 'colour' in .*, whose columns are", {"categories": ["colour"]}),
        ("id column 'other' .* words or whole numbers", {"id": "other"}),
        ("'other' .*Name another", {"label": "other"}),
    ):
        refused(folder / "a.parquet", match, embedding="embedding", **options)


@pytest.mark.parametrize("way", ["none", "center", "rescale", "standardize", "whiten", "unit"])
def test_normalization_is_learned_on_the_training_vectors(way, folder, x):
    x = 3 * x @ np.diag([1, 2, 3, 4]).astype(np.float32) + 5
    np.save(folder / "a.npy", x)
    splits = Vectors(str(folder / "a.npy"), normalize=way).load()
    raw = splits.train.__getitems__(range(len(splits.train))).x
    if way == "none":
        assert splits.normalization is None
        return
    seen = splits.normalization(raw)
    if way == "unit":
        assert torch.allclose(seen.norm(dim=1), torch.ones(len(seen)), atol=1e-5)
        return
    assert torch.allclose(splits.normalization.inverse(seen), raw, atol=1e-3)
    assert seen.mean(0).abs().max() < 1e-4
    covariance = seen.T @ seen / len(seen)
    if way == "rescale":
        assert torch.allclose(covariance.diagonal().mean(), torch.ones(()), atol=1e-3)
        ratio = torch.pdist(seen) / torch.pdist(raw)
        assert torch.allclose(ratio, ratio[:1], rtol=1e-3)
    if way in ("standardize", "whiten"):
        assert torch.allclose(covariance.diagonal(), torch.ones(D), atol=1e-3)
    if way == "whiten":
        assert torch.allclose(covariance, torch.eye(D), atol=1e-3)
        fewer = Vectors(str(folder / "a.npy"), normalize="whiten", dims=2).load()
        assert fewer.normalization(raw).shape == (len(raw), 2)


def test_only_whitening_has_dims(folder):
    with pytest.raises(InputError, match="Only whitening keeps fewer"):
        Vectors("a.npy", normalize="center", dims=3)


# What is left out


def test_rows_that_cannot_be_used_are_named_counted_and_left_out(folder, caplog):
    n = 1000
    x = np.random.default_rng(0).normal(size=(n, D))
    x[5, 1], x[6, 2], x[7] = np.nan, np.inf, 0
    rows = [row.tolist() for row in x]
    rows[8], rows[9] = [1.0, 2.0], None
    ids = [f"item {i}" for i in range(n)]
    ids[10] = "item 3"
    pq.write_table(pa.table({"item_id": ids, "embedding": rows}), folder / "a.parquet")
    found, splits = loaded(folder / "a.parquet")
    assert len(found) == n - 6
    reasons = dict(splits.manifest.left_out)
    assert reasons == {
        "item 5": "a value is not finite",
        "item 6": "a value is not finite",
        "item 7": "all zero",
        "item 8": "another length than 4",
        "item 9": "missing",
        "item 3": "its id comes twice",
    }
    assert torch.equal(found["item 3"], torch.tensor(x[3], dtype=torch.float32))  # the first
    for name, reason in reasons.items():
        assert f"Left out a vector that cannot be used: {name} ({reason})" in caplog.text
    assert "Left out 6 of 1000 vectors." in caplog.text


def test_many_that_cannot_be_used_are_refused(folder, x):
    x[:20] = np.nan
    np.save(folder / "a.npy", x)
    said = refused(folder / "a.npy", "20 of 60 vectors cannot be used, more than 1%")
    assert "0 (a value is not finite), 1 (a value is not finite)" in said


def test_vectors_that_are_exactly_alike_are_kept_together_and_counted(folder, x, caplog):
    caplog.set_level(logging.INFO, logger=FOUND)
    x[30:60] = x[:30]
    pq.write_table(table(x), folder / "a.parquet")
    _, splits = loaded(folder / "a.parquet")
    assert "exactly alike: 30 vectors are copies of another (item 30 as item 0" in caplog.text
    where = dict(zip(splits.manifest.names, splits.manifest.splits.tolist(), strict=True))
    assert all(where[f"item {i}"] == where[f"item {i + 30}"] for i in range(30))
    assert len(where) == N


def test_an_id_of_the_training_vectors_is_not_one_of_the_test(folder, x):
    pq.write_table(table(x[:50]), folder / "train.parquet")
    ids = pa.array([IDS[0], *IDS[51:]])
    pq.write_table(table(x[50:], item_id=ids), folder / "test.parquet")
    _, splits = loaded(folder)
    assert len(splits.test) == 9
    assert dict(splits.manifest.left_out) == {"item 0": "its id comes twice"}


def test_lines_of_a_csv_with_other_columns_are_left_out(folder, x):
    path = written(".csv", folder, np.tile(x, (1, 1)))
    lines = path.read_text().splitlines()
    lines[4] += ",7"
    path.write_text("\n".join(lines))
    found, splits = loaded(path)
    assert len(found) == N - 1
    ((name, reason),) = splits.manifest.left_out
    assert "line 5" in name and reason == "6 columns, not 5"


# What is refused


def test_no_embedding_column(folder):
    pq.write_table(pa.table({"id": IDS, "rating": [1] * N}), folder / "a.parquet")
    said = refused(folder / "a.parquet", "has no embedding column")
    assert "whose columns are id (text), rating (int64), has no embedding" in said
    assert "--data.embedding" in said
    refused(folder / "a.parquet", "There is no embedding column 'v'", embedding="v")


def test_columns_of_several_lengths(folder, x):
    rows = [row[: 3 + i % 2].tolist() for i, row in enumerate(x)]
    pq.write_table(pa.table({"embedding": rows}), folder / "a.parquet")
    refused(folder / "a.parquet", "30 of 60 vectors cannot be used.*another length than")
    np.savez(folder / "a.npz", embedding=x, id=np.array(IDS[:50]))
    refused(folder / "a.npz", r"several lengths \(embedding 60, id 50\)")
    pq.write_table(table(x), folder / "train.parquet")
    pq.write_table(table(x[:, :3]), folder / "test.parquet")
    (folder / "a.parquet").unlink()
    (folder / "a.npz").unlink()
    refused(folder, "have 3 dimensions, those of .* 4")


def test_text_in_the_embedding(folder, x):
    pq.write_table(pa.table({"embedding": [["a", "b"]] * N}), folder / "a.parquet")
    refused(folder / "a.parquet", "holds text: an embedding is numbers", embedding="embedding")
    path = written(".csv", folder, x)
    lines = path.read_text().splitlines()
    lines[3] = '"item 2",0.5,none,0.5,0.5'
    path.write_text("\n".join(lines))
    refused(path, "column e1 of .* holds text, 'none' in row 3: an embedding is numbers")
    rows = [",".join([f"i{n}", *["0.123456"] * 3]) for n in range(100)]
    path.write_text("\n".join(["id,e0,e1,e2", *rows, "i100,0.5,late,0.5"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("smalti.data.tables.BLOCK", 1000)
        refused(path, "has 'late' in line 102, where a number should be")


def test_lists_that_are_text(folder, x):
    """A row with another length, or none, is left out; what is no number is told with its line."""
    path = written(".csv of lists", folder, x)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], '"item 4","[0.5, 1.5]"', "item 5,", *lines[7:]]))
    found, splits = loaded(path)
    assert len(found) == N - 2 and splits.signal.channels == D
    assert [fault for _, fault in splits.manifest.left_out] == ["another length than 4", "missing"]
    path.write_text("\n".join([*lines[:5], '"item 4","[0.5 ... 1.5]"', *lines[6:]]))
    refused(path, "has '...' in the list that ends in line 6, .*: write the lists in full")
    path.write_text("\n".join([*lines[:5], '"item 4","[0.5, x, 1, 2]"', *lines[6:]]))
    refused(path, "has 'x' in the list that ends in line 6, where a number should be: correct it")


def test_vectors_that_are_text_in_a_parquet(folder, x):
    texts = pa.table({"id": IDS, "embedding": [str(row) for row in x.tolist()]})
    pq.write_table(texts, folder / "a.parquet")
    refused(folder / "a.parquet", "column embedding of .* has its vectors written as text")
    refused(folder / "a.parquet", "vectors written as text", embedding="embedding")


def test_integers_are_vectors_where_there_is_nothing_else(folder, x):
    np.save(folder / "a.npy", (10 * x).astype(np.int8))
    train = Vectors(str(folder / "a.npy")).load().train
    found = train.__getitems__(range(len(train))).x
    assert found.shape[1] == D and torch.equal(found, found.round()) and found.unique().numel() > 2
    lists = pa.table({"id": IDS, "words": [[1, 2, 3]] * N})  # no vectors, unless the user says so
    pq.write_table(lists, folder / "b.parquet")
    refused(folder / "b.parquet", "has no embedding column")


def test_only_names_of_columns(folder):
    (folder / "a.csv").write_text("e0,e1,e2\n")
    refused(folder / "a.csv", "has no values below the names of its columns")


def test_a_column_of_names_that_is_not_taken_is_told(folder, x, caplog):
    caplog.set_level("INFO")
    odd = {"SKU no.": IDS, "Item Vector (v2)": list(x)}
    pq.write_table(pa.table(odd), folder / "a.parquet")
    Vectors(str(folder / "a.parquet")).load()
    assert "named by their rows (give the column of their names as --data.id" in caplog.text
    caplog.clear()
    Vectors(str(folder / "a.parquet"), id="SKU no.").load()
    assert "named by SKU no.;" in caplog.text and "--data.id" not in caplog.text


def test_one_row_or_none(folder, x):
    np.save(folder / "a.npy", x[:1])
    refused(folder / "a.npy", "vectors of their own, all different: 3 are needed here, got 1")
    np.save(folder / "a.npy", x[:0])
    refused(folder / "a.npy", "has no rows")
    pq.write_table(table(x).slice(0, 0), folder / "a.parquet")
    refused(folder / "a.parquet", "has no rows")


def test_a_csv_whose_first_line_is_numbers(folder, x):
    np.savetxt(folder / "a.csv", x, delimiter=",")
    refused(folder / "a.csv", "The first line of .* is numbers .*put a line of names")
    lines = [f"word{i}," + ",".join(map(str, row)) for i, row in enumerate(x)]
    (folder / "a.csv").write_text("\n".join(lines))
    refused(folder / "a.csv", "The first line of .* is numbers")
    import pandas

    pandas.DataFrame(x).to_csv(folder / "a.csv")  # the names that pandas gives are names
    assert Vectors(str(folder / "a.csv")).load().signal.channels == D


@pytest.mark.parametrize("kind", [".parquet", ".npz", ".arrow", ".feather", ".npy"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_files_that_are_cut_off_or_something_else(kind, part, folder, x):
    x = np.tile(x, (40, 1))
    path = folder / f"items{kind}"
    if kind == ".npy":
        np.save(path, x)
    elif kind == ".npz":
        np.savez(path, embedding=x)
    elif kind == ".parquet":
        pq.write_table(pa.table({"embedding": list(x)}), path)
    else:
        pa.feather.write_feather(pa.table({"embedding": list(x)}), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    refused(path, rf"cannot be read as \{kind}")
    path.write_bytes(b"some text, which is no table\n")
    refused(path, rf"cannot be read as \{kind}")


def test_objects_and_arrays_of_other_shapes(folder, x):
    np.save(folder / "a.npy", np.array([{"a": 1}] * 5))
    refused(folder / "a.npy", "Python objects, which are not read")
    np.save(folder / "a.npy", np.zeros((3, 4, 5)))
    refused(folder / "a.npy", r"shape \(3, 4, 5\)")
    np.save(folder / "a.npy", np.zeros((50, 4), dtype=complex))
    refused(folder / "a.npy", "no embedding column")


def test_what_is_not_there(folder, x):
    refused(folder / "missing.parquet", "There is no file")
    refused(folder, "has no vectors, it is empty")
    (folder / "readme.txt").write_text("nothing")
    refused(folder, "has no vectors, only .txt")
    np.save(folder / "a.npy", x)
    pq.write_table(table(x), folder / "a.parquet")
    refused(folder, r"several kinds \(1 .npy, 1 .parquet\)")
    (folder / "a.npy").unlink()
    (folder / "a.parquet").rename(folder / "test.parquet")
    refused(folder, "nothing to train on")
