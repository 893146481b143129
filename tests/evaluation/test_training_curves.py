"""Curves from Lightning's CSV files, whole and in several starts."""

import io
import os

import pytest
import torch
from PIL import Image

from smalti.errors import InputError
from smalti.evaluation.curves import read_curves
from smalti.evaluation.plots import plot_curves, plot_usage

HEADER = "epoch,step,train/loss,train/commitment,validation/loss\n"


def write(path, rows):
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


def test_blanks_are_left_out_and_columns_find_their_quantity(tmp_path):
    file = write(tmp_path / "metrics.csv", ["0,19,0.5,0.1,", "0,39,,,0.45", "0,39,0.4,0.05,"])
    curves = read_curves(file)
    assert list(curves) == ["loss", "commitment"]
    assert curves["loss"] == {"train": [(19, 0.5), (39, 0.4)], "validation": [(39, 0.45)]}
    assert curves["commitment"] == {"train": [(19, 0.1), (39, 0.05)]}


def test_a_later_start_replaces_what_it_did_again(tmp_path):
    first = write(tmp_path / "a.csv", [f"0,{step},1.0,," for step in (0, 10, 20, 30)])
    later = write(tmp_path / "b.csv", [f"0,{step},2.0,," for step in (20, 30, 40)])
    points = read_curves([first, later])["loss"]["train"]
    assert points == [(0, 1.0), (10, 1.0), (20, 2.0), (30, 2.0), (40, 2.0)]


def test_an_empty_file_has_no_curves(tmp_path):
    assert read_curves(write(tmp_path / "metrics.csv", [])) == {}


@pytest.mark.parametrize("row", ["0,ten,0.5,,", "0,10,half,,"])
def test_a_file_that_is_no_log_is_refused_in_one_line(tmp_path, row):
    with pytest.raises(InputError, match=r"metrics\.csv is not a log") as error:
        read_curves(write(tmp_path / "metrics.csv", [row]))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a log"):
        read_curves([tmp_path / "metrics.csv"])


@pytest.mark.parametrize("n", [1, 2, 500])
def test_plots_are_drawn_on_transparent_paper(n):
    curve = [(step, 1.0 / (1 + step)) for step in range(n)]
    png = plot_curves("loss", {"train": curve, "validation": [(0, float("nan"))]})
    image = Image.open(io.BytesIO(png))
    assert image.mode == "RGBA"
    low, high = image.getchannel("A").getextrema()
    assert (low, high) == (0, 255)


@pytest.mark.parametrize("counts", [[1, 5, 0, 2], [0, 0], [3]])
def test_a_codebook_is_drawn_whatever_its_use(counts):
    assert Image.open(io.BytesIO(plot_usage(torch.tensor(counts)))).width > 300


@pytest.mark.parametrize(
    "damage",
    [
        "0,ten,9.0,,",
        "0,10,nine,,",
        "0,10",
        "0,10,9.0,,,,,9",
        "\x00\x00\x00",
        '"0,10,9.0',
        "0,-5,9.0,,",
        "0," + "1" * 5000 + ",9.0,,",
        "x" * 200_000,
        "\udcff\udcfe,,,",
    ],
    ids=range(10),
)
def test_a_broken_row_costs_no_other(tmp_path, damage):
    file = tmp_path / "metrics.csv"
    rows = ["0,19,0.5,0.1,", damage, "0,39,,,0.45", "0,59,0.4,0.1,"]
    text = HEADER + "".join(f"{row}\n" for row in rows)
    file.write_bytes(text.encode(errors="surrogateescape"))
    curves = read_curves(file)
    assert curves["loss"] == {"train": [(19, 0.5), (59, 0.4)], "validation": [(39, 0.45)]}


def test_a_log_that_is_lost_leaves_those_of_other_starts(tmp_path):
    whole = write(tmp_path / "a.csv", ["0,19,0.5,0.1,"])
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "noise.csv").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "empty.csv").touch()
    others = [tmp_path / f"{name}.csv" for name in ("none", "folder", "pipe", "noise", "empty")]
    assert read_curves([*others, whole])["loss"] == {"train": [(19, 0.5)]}
    for file in others[:-1]:
        with pytest.raises(InputError, match="is not a log") as caught:
            read_curves(file)
        assert "\n" not in str(caught.value)
