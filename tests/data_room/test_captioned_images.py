"""Captions of images: of tables, of a captions.csv, of texts beside the files."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from smalti.conditions import Caption
from smalti.data.manifest import read_manifest
from smalti.data.source import FOUND
from smalti.errors import InputError
from smalti.modalities.image import Columns, Images
from smalti.provenance import load_data

TEXT = Columns(text="text")


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.full((8, 8, 3), 8 * number, np.uint8))


def caption(number: int) -> str:
    return f"grey number {number}, {'dark' if number < 16 else 'light'} 灰"


def of_files(folder, n=30):
    folder.mkdir()
    for number in range(n):
        picture(number).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(caption(number) + "\n", encoding="utf-8")
    return folder


def of_table(folder, n=30, name="captions.csv"):
    (folder / "more").mkdir(parents=True)
    rows = ["file_name,text"]
    for number in range(n):
        file = f"more/{number}.png" if number % 2 else f"{number}.png"
        picture(number).save(folder / file)
        rows.append(f'{file},"{caption(number)}"')
    (folder / name).write_text("\n".join(rows), encoding="utf-8")
    return folder


def of_parquet(folder, n=30, texts=None):
    folder.mkdir()
    rows = []
    for number in range(n):
        picture(number).save(folder / "x.png")
        rows.append({"bytes": (folder / "x.png").read_bytes(), "path": None})
    (folder / "x.png").unlink()
    texts = [caption(number) for number in range(n)] if texts is None else texts
    pq.write_table(pa.table({"image": rows, "text": texts}), folder / "train.parquet")
    return folder


MAKERS = {
    "files": of_files,
    "captions.csv": of_table,
    "metadata.csv": lambda folder: of_table(folder, name="metadata.csv"),
    "parquet": of_parquet,
}


def pairs(splits) -> dict[int, str]:
    """The caption of each image by its grey."""
    found = {}
    for examples in splits[:3]:
        x, rows = examples.__getitems__(range(len(examples)))
        assert torch.equal(rows, examples.conditions)
        for image, row in zip(x, rows.tolist(), strict=True):
            found[round((image.mean().item() + 1) * 127.5 / 8)] = splits.condition.format(row)
    return found


@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
def test_each_image_has_its_caption_wherever_captions_lie(make, tmp_path, caplog):
    caplog.set_level("INFO", FOUND)
    splits = Images(str(make(tmp_path / "data")), 8, columns=TEXT).load()
    assert isinstance(splits.condition, Caption)
    assert pairs(splits) == {number: caption(number) for number in range(30)}
    assert "30 different captions" in caplog.text
    manifest = splits.manifest
    assert manifest.captions
    names = {manifest.label_name(row) for row in range(30)}
    assert names == {caption(number) for number in range(30)}


def test_captions_that_all_differ_do_not_keep_examples_from_being_held_out(tmp_path):
    splits = Images(str(of_files(tmp_path / "data")), 8, columns=TEXT).load()
    labels = Images(str(tmp_path / "data"), 8).load()
    assert [len(part) for part in splits[:3]] == [len(part) for part in labels[:3]]
    assert len(splits.test) and len(splits.validation)
    train = [splits.condition.format(row) for row in splits.train.conditions.tolist()]
    assert splits.condition.equals(Caption.learned(train))  # and of no other split


def test_without_being_asked_for_a_text_is_no_caption(tmp_path):
    assert Images(str(of_files(tmp_path / "data")), 8).load().condition is None
    assert Images(str(of_parquet(tmp_path / "table")), 8).load().condition is None


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x0c", "\x1c"])
def test_a_caption_may_hold_any_sign_but_the_end_of_a_line(mark, tmp_path):
    folder = of_table(tmp_path / "data")
    rows = (folder / "captions.csv").read_text(encoding="utf-8").replace('"', "")
    rows = rows.replace(", dark", f"{mark}dark").replace(", light", f"{mark}light")
    (folder / "captions.csv").write_text(rows, encoding="utf-8")
    found = pairs(Images(str(folder), 8, columns=TEXT).load())
    assert found == {n: caption(n).replace(", ", mark) for n in range(30)}


@pytest.mark.parametrize(
    "break_it, line",
    [
        (lambda folder: (folder / "3.txt").unlink(), "got none for .*3.png and 0 others of 30"),
        (lambda folder: (folder / "3.txt").write_text(" \n"), "got none for .*3.png"),
        (lambda folder: [file.unlink() for file in folder.glob("*.txt")], "have no captions"),
        (lambda folder: (folder / "3.txt").write_bytes(b"\xff\xfe"), "cannot be read as UTF-8"),
        (lambda folder: (folder / "captions.csv").write_text("a,b\n"), "got the columns a, b"),
        (lambda folder: (folder / "captions.csv").write_text(""), "got the columns none"),
    ],
)
def test_missing_and_broken_captions_are_told_of_in_one_line(break_it, line, tmp_path):
    break_it(of_files(tmp_path / "data"))
    with pytest.raises(InputError, match=line) as error:
        Images(str(tmp_path / "data"), 8, columns=TEXT).load()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "texts, column, line",
    [
        (["a", None] * 15, "text", "got none for row 1 of .*train.parquet and 14 others of 30"),
        ([None] * 30, "text", "holds .*, no text|have no captions"),
        (None, "caption", "'caption' is not there in .* whose columns are image, text"),
        (None, "image", "'image' holds .*, no text"),
        ([1] * 30, "text", "'text' holds .*, no text"),
    ],
)
def test_columns_that_are_no_captions_are_told_of_in_one_line(texts, column, line, tmp_path):
    folder = of_parquet(tmp_path / "data", texts=texts)
    with pytest.raises(InputError, match=line) as error:
        Images(str(folder), 8, columns=Columns(text=column)).load()
    assert "\n" not in str(error.value)


def test_captions_and_labels_exclude_each_other():
    with pytest.raises(InputError, match="captions or labels"):
        Images("x", 8, columns=Columns(text="text", label="label"))
    with pytest.raises(InputError, match="captions or labels"):
        Images("x", 8, columns=TEXT, class_names=["a", "b"])


def loaded(run, folder, **options):
    source = Images(str(folder), 8, columns=TEXT)
    config = {"class_path": "Images", "init_args": {"path": str(folder)}}
    return load_data(run, config, source, **options)


def test_a_run_keeps_its_captions_and_tells_when_one_has_changed(tmp_path):
    from smalti.data.manifest import write_manifest

    folder, run = of_files(tmp_path / "data"), tmp_path / "run"
    first = loaded(run, folder)
    write_manifest(first.manifest, run / "data")
    assert read_manifest(run / "data").captions
    again = loaded(run, folder)
    assert again.condition.equals(first.condition) and pairs(again) == pairs(first)

    (folder / "7.txt").write_text("something else")
    with pytest.raises(InputError, match="1 has another caption .*is now something else"):
        loaded(run, folder)
    kept = loaded(run, folder, changed="ignore")
    assert kept.condition.equals(first.condition) and pairs(kept) == pairs(first)

    shutil.copy(folder / "3.txt", folder / "new.txt")
    picture(31).save(folder / "new.png")
    taken = loaded(run, folder, changed="accept")
    found = pairs(taken)
    assert found[7] == "something else" and found[31] == caption(3)
    for name in ("test", "validation"):  # of the manifest, whatever came later
        old = {first.condition.format(r) for r in getattr(first, name).conditions.tolist()}
        new = {taken.condition.format(r) for r in getattr(taken, name).conditions.tolist()}
        assert old <= new | {caption(7)}
