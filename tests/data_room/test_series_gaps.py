"""What stands for a missing value in series, and series that are read once and kept."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from smalti.errors import InputError
from smalti.modalities.base import modality_of
from smalti.modalities.series import SeriesColumns, TimeSeries, conversion
from smalti.recipes import schema

N, SIZE = 400, 20
AT = (40, 41, 160, 300)  # rows without a value


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("SMALTI_NO_CACHE", raising=False)
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "decoded"


def write(path: Path, word: str = "", rows=AT, label=lambda i: "ab"[i // 20 % 2]) -> str:
    """Two channels, of which one has this word in some rows, and labels."""
    value = [word if i in rows else f"{np.sin(i / 7):.4f}" for i in range(N)]
    lines = [f"{value[i]},{i},{label(i)}" for i in range(N)]
    path.write_text("\n".join(["x,y,label", *lines]) + "\n")
    return str(path)


def values(splits) -> dict[int, float]:
    """The value of x in each row, by the number in y."""
    parts = [part.__getitems__(range(len(part))).x for part in splits[:3]]
    x = torch.cat(parts).transpose(1, 2).flatten(0, 1)
    return {int(y): float(value) for value, y in x.tolist() if y == y}


def told(action) -> str:
    with pytest.raises(InputError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


def load(path: str, **options):
    return TimeSeries(path, size=SIZE, stride=SIZE, **options).load()


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize("word", ["", "?", " ?", "NA", "N/A", "NaN", "nan", "null", "NULL", "<NA>"])
def test_words_for_a_missing_value_are_gaps_and_counted(tmp_path, caplog, word, suffix):
    caplog.set_level(logging.INFO)
    path = Path(write(tmp_path / f"a.{suffix}", word))
    if suffix == "tsv":
        path.write_text(path.read_text().replace(",", "\t"))
    splits = load(str(path))
    found = values(splits)
    assert sorted(y for y, x in found.items() if x != x) == list(AT)
    assert found[5] == pytest.approx(np.sin(5 / 7), abs=1e-4)
    assert "gaps: 4 values (x 1.0%), which no loss counts" in caplog.text
    assert splits.normalization.mean.isfinite().all()


@pytest.mark.parametrize("given", ["-", ["-", "."]])
def test_other_words_are_named_by_the_user(tmp_path, given):
    path = write(tmp_path / "a.csv", "-")
    line = told(lambda: load(path))
    assert "has text in 4 of 400 rows, first '-' in row 41: correct it, or if it stands for" in line
    assert "give --data.missing '-', or name the channels" in line
    found = values(load(path, missing=given))
    assert sorted(y for y, x in found.items() if x != x) == list(AT)


def test_a_word_far_down_is_one_line_too(tmp_path, monkeypatch):
    monkeypatch.setattr("smalti.data.tables.BLOCK", 512)
    path = write(tmp_path / "a.csv", "-", rows=(300,))
    line = told(lambda: load(path))
    assert "has '-' in line 302, where a number should be: correct it, or if it stands for" in line
    assert line.endswith("give --data.missing '-'.")
    assert values(load(path, missing="-"))[300] != values(load(path, missing="-"))[299]


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_a_number_that_stands_for_a_missing_value_is_a_gap(tmp_path, kind):
    path = write(tmp_path / "a.csv", "-999")
    if kind == "npz":
        x = np.array([[-999.0 if i in AT else np.sin(i / 7), i] for i in range(N)]).T
        np.savez(tmp_path / "a.npz", x=x.astype(np.float32))
        path = str(tmp_path / "a.npz")
    assert min(values(load(path)).values()) == -999
    source = schema.build(
        schema.read("series", ["--data.path", path, "--data.missing", "-999", "--data.size", "20"])
    ).data
    found = values(source.load())
    assert sorted(y for y, x in found.items() if x != x) == list(AT)


def test_no_label_is_read_from_a_question_mark(tmp_path):
    path = write(tmp_path / "a.csv", label=lambda i: "?" if i % 20 == 3 else "ab"[i // 20 % 2])
    assert load(path).condition.names == ("a", "b")


def test_a_file_for_the_model_is_read_as_its_data_were(tmp_path):
    path = write(tmp_path / "a.csv", "-999")
    signal = load(path, missing="-999").signal
    modality = modality_of(signal)
    lines = Path(path).read_text().splitlines()
    (tmp_path / "new.csv").write_text("\n".join([lines[0], *lines[31:51]]) + "\n")
    columns = {"missing": "-999", "columns": {}}
    x = modality.read(tmp_path / "new.csv", signal, False, columns)
    assert x[0].isnan().nonzero().flatten().tolist() == [10, 11]
    assert not modality.read(tmp_path / "new.csv", signal, False, {}).isnan().any()


# Series are read once


@pytest.fixture
def reads(monkeypatch):
    """Counts the tables that are read."""
    count = [0]
    read = conversion.read_recordings

    def counted(*arguments, **options):
        count[0] += 1
        return read(*arguments, **options)

    monkeypatch.setattr(conversion, "read_recordings", counted)
    return count


def same(one, other) -> bool:
    for a, b in zip(one[:3], other[:3], strict=True):
        assert torch.equal(a.conditions, b.conditions)
        x, y = (part.__getitems__(range(len(part))).x for part in (a, b))
        assert torch.equal(x.nan_to_num(7e7), y.nan_to_num(7e7))
    assert one.condition.names == other.condition.names and one.signal == other.signal
    return list(one.manifest.names) == list(other.manifest.names)


def folder_of_series(folder: Path) -> Path:
    """Training and test files with times that jump, and labels that come in another order."""
    folder.mkdir()
    for name, words in ("train", "ab"), ("test", "bc"):
        lines = [
            f"{i * 0.5 + (9 if i > 200 else 0)},{'' if i in AT else i % 17},{words[i // 25 % 2]}"
            for i in range(N)
        ]
        extra = [f"{N / 2 + 9},1,c", f"{N / 2 + 9.5},1,c"] * (name == "train")
        (folder / f"{name}.csv").write_text("\n".join(["time,x,label", *lines, *extra[:0]]) + "\n")
    return folder


def test_series_are_read_once_by_their_content(tmp_path, reads, monkeypatch):
    data = folder_of_series(tmp_path / "data")
    (data / "test.csv").write_text((data / "test.csv").read_text().replace(",c", ",a"))
    first = load(str(data))
    assert reads == [2]
    assert same(load(str(data)), first) and reads == [2]
    # Another place is the same, other content, columns or words are not.
    data.rename(tmp_path / "moved")
    assert same(load(str(tmp_path / "moved")), first) and reads == [2]
    load(str(tmp_path / "moved"), missing="-9")
    assert reads == [4]
    unlabelled = load(str(tmp_path / "moved"), columns=SeriesColumns(channels=["x"]))
    assert unlabelled.signal.rate == first.signal.rate and reads == [4]
    text = (tmp_path / "moved" / "test.csv").read_text()
    (tmp_path / "moved" / "test.csv").write_text(text.replace(",16,", ",15,"))
    changed = load(str(tmp_path / "moved"))
    assert reads == [5]
    assert not torch.equal(changed.test[3].x.nan_to_num(), first.test[3].x.nan_to_num())
    monkeypatch.setenv("SMALTI_NO_CACHE", "1")
    assert same(load(str(tmp_path / "moved")), changed) and reads == [7]


def test_a_file_of_another_name_is_called_by_it(tmp_path, reads):
    path = Path(write(tmp_path / "a.csv"))
    assert load(str(path)).manifest.names[0].startswith("a.csv from ")
    path.rename(tmp_path / "b.csv")
    assert load(str(tmp_path / "b.csv")).manifest.names[0].startswith("b.csv from ")
    assert reads == [2]


def test_a_damaged_entry_is_read_anew(tmp_path, reads, cache):
    path = write(tmp_path / "a.csv")
    first = load(path)
    (entry,) = cache.glob("*/*/values")
    content = bytearray(entry.read_bytes())
    content[100] ^= 1
    entry.write_bytes(content)
    assert same(load(path), first) and reads == [2]
    assert same(load(path), first) and reads == [2]


def test_series_that_cannot_be_used_are_named_again(tmp_path, reads, caplog):
    data = tmp_path / "data"
    data.mkdir()
    for number in range(12):
        rows = [f"{i if number or i != 30 else 2},{i % 7 + number}" for i in range(60)]
        (data / f"{number}.csv").write_text("\n".join(["time,x", *rows]) + "\n")
    for _ in range(2):
        caplog.clear()
        splits = TimeSeries(str(data), size=10).load()
        assert "its times go back or stand still in row 30" in caplog.text
        assert ("0.csv", "its times go back or stand still in row 30") in splits.manifest.left_out
    assert reads == [12]
