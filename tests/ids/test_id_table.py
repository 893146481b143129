"""`IdTable` and its file: what was written is read, and what was not is refused."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smalti.errors import InputError
from smalti.ids import IdTable, id_strings, level_letters, parse_prefix, special_tokens
from smalti.outputs import check_file, written_by_smalti

NAMES = ["cup", "mug", "Teller №4", "hat"]
OWN = [[3, 1], [3, 1], [0, 2], [1, 1]]


def table(collisions="index", names=NAMES):
    return IdTable.of(names, OWN, (4, 4), collisions, made_from={"tokenizer": "abc"})


@pytest.mark.parametrize("collisions", ["index", "none"])
def test_what_is_written_is_read(tmp_path, collisions):
    path = tmp_path / "ids.parquet"
    made = table(collisions)
    made.write(path)
    made.write(path)  # smalti's own is replaced
    read = IdTable.read(path)
    assert read.item_ids.to_pylist() == NAMES
    assert read.strings.to_pylist() == made.strings.to_pylist()
    for name in ("own", "codes", "resolved"):
        assert getattr(read, name).tolist() == getattr(made, name).tolist()
    assert (read.codebook_sizes, read.collisions) == (made.codebook_sizes, collisions)
    assert read.made_from == {"tokenizer": "abc"}
    assert written_by_smalti(path)


def test_the_file_is_one_that_others_read(tmp_path):
    table().write(tmp_path / "ids.parquet")
    rows = pq.read_table(tmp_path / "ids.parquet").to_pylist()
    assert rows[1] == {
        "item_id": "mug",
        "id": "<a_3><b_1><c_1>",
        "codes": [3, 1, 1],
        "own": [3, 1],
        "resolved": True,
    }


def test_a_table_that_somebody_added_to_is_not_replaced(tmp_path):
    path = tmp_path / "ids.parquet"
    table().write(path)
    pq.write_table(pq.read_table(path).append_column("price", pa.array([1, 2, 3, 4])), path)
    with pytest.raises(InputError, match="not written by smalti"):
        check_file(path)
    assert len(IdTable.read(path)) == 4


def test_numbers_are_names_too():
    made = IdTable.of(np.array([10, 20]), [[0], [1]], (2,))
    assert made.item_ids.to_pylist() == ["10", "20"] and made.row(20) == 1


def test_lookups_go_both_ways():
    made = table()
    for row, name in enumerate(NAMES):
        assert made.row(name) == row
        assert made.items(made.codes[row].tolist()) == [name]
        assert made.items(parse_prefix(made.strings[row].as_py())) == [name]
    assert made.items([3]) == ["cup", "mug"] and made.items([]) == [
        "Teller №4",
        "hat",
        "cup",
        "mug",
    ]


def test_an_item_that_is_not_there_is_said_with_the_nearest_names():
    made = IdTable.of([f"item-{i}" for i in range(5000)], np.zeros((5000, 1), int), (1,))
    with pytest.raises(InputError) as error:
        made.row("itme-4242")
    assert str(error.value).startswith("There is no item 'itme-4242' among 5000 items: the nearest")
    assert "item-4242" in str(error.value)
    with pytest.raises(InputError, match="the nearest names are Teller №4"):
        table().row("teller №4 ")
    with pytest.raises(InputError, match="'xyz' among 4 items: check the name"):
        table().row("xyz")


def test_an_item_that_comes_twice_is_refused():
    said = r"got 2 items more than once \(a, b; the first in rows 0, 2\)"
    with pytest.raises(InputError, match=said):
        IdTable.of(["a", "b", "a", "b"], np.zeros((4, 1), int), (2,))
    with pytest.raises(InputError, match="more than once"):
        table().extended(["new", "new"], [[0, 0], [0, 0]])
    with pytest.raises(InputError, match="row 1 has no"):
        IdTable.of(["a", None], [[0], [0]], (2,))
    with pytest.raises(InputError, match="got 1 item and 2 rows of codes"):
        table().extended(["new"], [[0, 0], [0, 0]])


def edited(path, **facts):
    """Rewrites a file with other metadata."""
    content = pq.read_table(path)
    metadata = content.schema.metadata
    known = {**json.loads(metadata[b"smalti_ids"]), **facts}
    pq.write_table(
        content.replace_schema_metadata({**metadata, b"smalti_ids": json.dumps(known)}), path
    )


def with_column(path, name, values):
    content = pq.read_table(path)
    place = content.schema.get_field_index(name)
    pq.write_table(content.set_column(place, name, pa.array(values)), path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: edited(path, codebook_sizes=[4, 4, 1]), "level 3 lie between 0 and 0"),
        (lambda path: edited(path, codebook_sizes=[4, 4]), r"a table \(N, 2\) here"),
        (lambda path: edited(path, collisions="none"), r"a table \(N, 3\) here"),
        (lambda path: edited(path, format=9), "it is of format 9, and 1 is known here"),
        (lambda path: with_column(path, "item_id", ["a", "b", "c", "d"]), "its rows were edited"),
        (lambda path: with_column(path, "own", OWN[::-1]), "its rows were edited"),
        (lambda path: with_column(path, "codes", [[1], [1, 2], [1], [1]]), "several lengths"),
        (lambda path: with_column(path, "codes", [1, 2, 3, 4]), "not lists of integers"),
        (lambda path: with_column(path, "item_id", list("abca")), "got 1 item more than once"),
        (
            lambda path: pq.write_table(pq.read_table(path).drop(["own"]), path),
            "the column own is missing",
        ),
        (
            lambda path: pq.write_table(pa.table({"item": ["a"], "vector": [[0.5]]}), path),
            "says nothing of IDs, its columns are item, vector",
        ),
        (lambda path: path.write_bytes(b"PAR1 no"), "holds no whole IDs"),
        (lambda path: path.unlink(), "There is no file"),
    ],
)
def test_a_file_that_is_no_table_of_ids_is_one_line(tmp_path, damage, said):
    path = tmp_path / "ids.parquet"
    table().write(path)
    damage(path)
    with pytest.raises(InputError, match=said) as error:
        IdTable.read(path)
    assert "\n" not in str(error.value)


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"got ids.csv: name it ids.parquet"):
        table().write(tmp_path / "ids.csv")
    (tmp_path / "ids.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="it ends in .csv"):
        IdTable.read(tmp_path / "ids.csv")


def test_strings_and_prefixes_are_inverses_beyond_26_levels():
    sizes = (3,) * 30
    codes = np.random.default_rng(0).integers(3, size=(7, 30))
    strings = id_strings(codes, sizes).to_pylist()
    assert [parse_prefix(text) for text in strings] == codes.tolist()
    assert [parse_prefix(",".join(map(str, row))) for row in codes.tolist()] == codes.tolist()
    assert level_letters(29) == "ad"
    tokens = special_tokens(sizes)
    assert len(set(tokens)) == len(tokens) == 90 and tokens[-1] == "<ad_2>"
    assert "".join(tokens[3 * n + code] for n, code in enumerate(codes[0].tolist())) == strings[0]


def test_what_is_no_prefix_is_told_apart():
    assert parse_prefix("item-42") is None and parse_prefix("<a_3>x") is None
    assert parse_prefix(" 3, 9 ,1 ") == parse_prefix("3 9 1") == parse_prefix("3,9,1,") == [3, 9, 1]
    with pytest.raises(InputError, match="begins with its first level, got <b_1>: .* <a_…>"):
        parse_prefix("<b_1>")
    with pytest.raises(InputError, match="at most 2²² tokens"):
        special_tokens((2**22, 1))
