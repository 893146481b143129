"""Series: which rows are windows, which are held out, and what is told of what cannot be used."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from smalti.data.splitting import SplitFractions
from smalti.errors import InputError
from smalti.modalities.base import modality_of
from smalti.modalities.series import Series, SeriesColumns, TimeSeries
from smalti.modalities.series.by_channel import Spectra, power_kept
from smalti.modalities.series.metrics import SeriesError


def write_csv(path: Path, columns: dict) -> str:
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def every(splits):
    return {name: getattr(splits, name) for name in ("train", "validation", "test")}


def steps_of(examples) -> set[int]:
    """Which steps the windows of one channel are made of, whose values are their numbers."""
    x = examples.__getitems__(range(len(examples))).x
    return set(x[~x.isnan()].int().tolist())


def told(action) -> str:
    with pytest.raises(InputError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO)
    return lambda: caplog.text


# What is held out


@pytest.mark.parametrize("stride", [None, 3, 40])
def test_no_step_of_one_long_series_is_in_two_splits(tmp_path, stride):
    path = write_csv(tmp_path / "a.csv", {"x": range(3000)})
    splits = TimeSeries(path, size=20, stride=stride, held_out=SplitFractions(0.2, 0.2)).load()
    steps = {name: steps_of(examples) for name, examples in every(splits).items()}
    assert all(steps.values())
    for name, other in ("train", "validation"), ("train", "test"), ("validation", "test"):
        assert not steps[name] & steps[other]
    assert len(steps["train"]) > 900


def test_a_series_of_an_id_is_in_one_split(tmp_path):
    ids = np.arange(12).repeat(50)
    table = {"subject": [f"s{i}" for i in ids], "x": ids, "y": noise(600)}
    path = tmp_path / "a.parquet"
    order = np.random.default_rng(0).permutation(600)  # rows of several series lie mixed
    pq.write_table(
        pa.table({name: np.asarray(column)[order] for name, column in table.items()}), path
    )
    splits = TimeSeries(str(path), size=10, held_out=SplitFractions(0.3, 0.2)).load()
    found = {}
    for name, examples in every(splits).items():
        x = examples.__getitems__(range(len(examples))).x
        assert (x[:, 0] == x[:, 0, :1]).all()  # no window of two series
        found[name] = set(x[:, 0, 0].tolist())
    assert sum(map(len, found.values())) == 12 == len(set.union(*found.values()))


def test_names_of_files_are_splits_and_a_split_that_is_given_stays(tmp_path):
    for name, start in ("gait_TRAIN", 0), ("gait_TEST", 5000):
        np.save(tmp_path / f"{name}.npy", np.arange(start, start + 400, dtype=np.float32)[None])
    splits = TimeSeries(str(tmp_path), size=8).load()
    assert min(steps_of(splits.test)) == 5000
    assert max(steps_of(splits.train) | steps_of(splits.validation)) < 5000


# Windows


def test_the_last_window_ends_where_the_series_does(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(12 * 23.0).reshape(12, 1, 23))
    splits = TimeSeries(str(tmp_path / "a.npz"), size=10, stride=7).load()
    starts = sorted(
        int(window[0]) % 23
        for examples in every(splits).values()
        for window in examples.__getitems__(range(len(examples))).x[:, 0]
    )
    assert starts == sorted([0, 7, 13] * 12)


def test_short_series_end_in_a_gap_and_are_counted(tmp_path, lines):
    for i in range(12):
        np.save(tmp_path / f"{i}.npy", noise(2, 12 if i else 5, seed=i))
    splits = TimeSeries(str(tmp_path)).load()
    assert splits.signal.size == (12,)
    x = torch.cat([e.__getitems__(range(len(e))).x for e in every(splits).values()])
    gaps = x.isnan().any(1).sum(1)
    assert sorted(gaps.tolist()) == [0] * 11 + [7]
    assert "shorter than a window: 1 piece (0.npy)" in lines()


def test_labels_are_those_of_most_steps(tmp_path):
    t = np.arange(400)
    label = np.where(t % 20 < 13, "walk", "rest")
    path = write_csv(tmp_path / "a.csv", {"x": noise(400), "y": t, "label": label})
    splits = TimeSeries(path, size=10, stride=5).load()
    for examples in every(splits).values():
        x, numbers = examples.__getitems__(range(len(examples)))
        for window, number in zip(x[:, 1].int().numpy(), numbers, strict=True):
            walks = (window % 20 < 13).sum()
            assert splits.condition.names[number] == ("walk" if walks >= 5 else "rest")


# Times


def test_a_channel_that_rises_as_times_do_is_told(tmp_path, lines):
    t = np.tile(np.arange(300) / 50, 2)  # two recordings, one after another
    path = write_csv(tmp_path / "a.csv", {"Zeit [s]": t, "x": noise(600), "y": noise(600, seed=2)})
    TimeSeries(path, size=16).load()
    (said,) = (line for line in lines().splitlines() if "rise evenly" in line)
    assert ": Zeit [s]; if one is the time" in said and "--data.columns.time" in said


def test_a_channel_that_rises_beside_times_is_one(tmp_path, lines):
    path = write_csv(tmp_path / "a.csv", {"time": np.arange(300) / 50, "x": range(300)})
    TimeSeries(path, size=16).load()
    assert "rise evenly" not in lines()


def test_only_names_of_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n")
    assert "has no values below the names of its columns" in told(TimeSeries(str(path)).load)


def test_the_rate_is_that_of_the_times_and_jumps_cut(tmp_path, lines):
    t = np.arange(600) / 50
    t[300:] += 100
    path = write_csv(tmp_path / "a.csv", {"time": t, "x": np.arange(600)})
    splits = TimeSeries(path, size=16, stride=4).load()
    assert splits.signal.rate == 50
    for examples in every(splits).values():
        x = examples.__getitems__(range(len(examples))).x
        assert ((x < 300).all(2) | (x >= 300).all(2)).all()
    assert "times jump 1 time in 1 series (a.csv)" in lines()


def test_dates_are_times(tmp_path):
    dates = [f"2026-01-01 00:{i // 60:02d}:{i % 60:02d}.500" for i in range(0, 1200, 2)]
    path = write_csv(tmp_path / "a.csv", {"when": dates, "x": noise(600)})
    assert TimeSeries(path, size=16).load().signal.rate == 0.5


def test_what_times_cannot_be(tmp_path):
    t = list(range(200))
    back = write_csv(tmp_path / "b.csv", {"time": t[:100] + t[:100], "x": noise(200)})
    assert "go back or stand still in row 100" in told(TimeSeries(back).load)
    text = write_csv(tmp_path / "c.csv", {"when": ["soon"] * 200, "x": noise(200)})
    columns = SeriesColumns(time="when")
    assert "holds text: times are" in told(TimeSeries(text, columns=columns).load)


def test_a_few_series_that_cannot_be_used_are_left_out(tmp_path, lines):
    for i in range(40):
        t = np.arange(60) / (10 if i != 7 else 30)
        t = t[::-1] if i == 3 else t
        write_csv(tmp_path / f"{i:02d}.csv", {"time": t, "x": noise(60, seed=i)})
    splits = TimeSeries(str(tmp_path), size=20).load()
    assert splits.signal.rate == 10
    assert "03.csv (its times go back" in lines()
    assert "07.csv (30 steps a second, not 10)" in lines()
    assert {name for name, _ in splits.manifest.left_out} == {"03.csv", "07.csv"}


# Gaps, channels and what is odd about them


def test_channels_are_standardised_by_the_training_windows_without_gaps(tmp_path):
    x = 3 * noise(500) + 100
    gaps = np.where(np.arange(500) % 7 == 0, np.nan, x)
    path = write_csv(tmp_path / "a.csv", {"x": gaps, "y": 1e4 * noise(500, seed=1), "c": [5] * 500})
    splits = TimeSeries(path, size=10).load()
    x = splits.train.__getitems__(range(len(splits.train))).x
    y = splits.normalization(x)
    assert torch.equal(y.isnan(), x.isnan()) and y.isnan().any()
    torch.testing.assert_close(y.nanmean((0, 2)), torch.zeros(3), atol=1e-4, rtol=0)
    assert y[:, 1].std().item() == pytest.approx(1, abs=0.01)
    torch.testing.assert_close(
        splits.normalization.inverse(y), x, equal_nan=True, rtol=1e-4, atol=1e-3
    )


def test_what_is_odd_is_told_once(tmp_path, lines):
    for i in range(12):
        x = noise(40, seed=max(1, i))  # the first two are alike
        odd = np.where(np.arange(40) == 3, np.inf, x)
        columns = {"index": range(40), "x": x, "odd": odd, "flat": [1.5] * 40, "note": ["ok"] * 40}
        write_csv(tmp_path / f"{i:02d}.csv", {**columns, "void": [""] * 40})
    TimeSeries(str(tmp_path), size=40).load()
    for line in (
        "columns left aside: index (int64), note (text), void (no value)",
        "constant: 1 channel (flat)",
        "infinite: 12 values, taken for gaps",
        "exactly alike: 1 series is a copy of another (01.csv as 00.csv)",
        "gaps: 12 values (odd 2.5%)",
    ):
        assert lines().count(line) == 1


@pytest.mark.parametrize(
    ("columns", "asked", "line"),
    [
        ({"x": [*range(99), "n.a."]}, {}, "has text in 1 of 100 rows, first 'n.a.' in row 100"),
        ({"x": ["a"] * 100}, {}, "has no channel"),
        ({"x": range(100)}, {"channels": ["y"]}, "no channel 'y'"),
        ({"x": range(100)}, {"id": "who"}, "no id column 'who'"),
        ({"x": range(100), "w": ["a"] * 100}, {"channels": ["x", "w"]}, "has text in 100"),
        ({"x": range(100), "l": [0.5] * 100}, {"label": "l"}, "label column l of"),
    ],
)
def test_columns_that_cannot_be_are_one_line(tmp_path, columns, asked, line):
    path = write_csv(tmp_path / "a.csv", columns)
    assert line in told(TimeSeries(path, columns=SeriesColumns(**asked)).load)


def test_what_no_source_can_be_made_of_is_one_line(tmp_path):
    path = write_csv(tmp_path / "a.csv", {"x": range(30)})
    for arguments in ({"size": 1}, {"stride": 0}, {"rate": -1.0}, {"splits": "all"}):
        told(lambda arguments=arguments: TimeSeries(path, **arguments))
    assert "smaller --data.size" in told(TimeSeries(path, size=4096).load)
    assert "3 different parts" in told(TimeSeries(path, size=16).load)  # too few blocks
    np.save(tmp_path / "a.npy", np.zeros((40, 3)))
    assert "give x.T" in told(TimeSeries(str(tmp_path / "a.npy")).load)
    np.save(tmp_path / "b.npy", np.full((20, 2, 9), np.nan))
    assert "cannot be used" in told(TimeSeries(str(tmp_path / "b.npy")).load)
    x = noise(20, 2, 9)
    x[:, 1] = np.nan
    np.save(tmp_path / "c.npy", x)
    assert "1 channel has no value" in told(TimeSeries(str(tmp_path / "c.npy")).load)
    (tmp_path / "d.ts").write_text("@classLabel true a b\n@data\n1,2,3:4,5:a\n")
    assert "several lengths (2, 3)" in told(TimeSeries(str(tmp_path / "d.ts")).load)


def test_the_text_format_of_aeon(tmp_path):
    for split, n in ("TRAIN", 12), ("TEST", 4):
        rows = [f"{i},1,?,{i}.5:0,1,2,3:{'ab'[i % 2]}" for i in range(n)]
        head = ["# made up", "@problemName x", "@timeStamps false", "@classLabel true a b", "@data"]
        (tmp_path / f"x_{split}.ts").write_text("\n".join([*head, *rows]))
    splits = TimeSeries(str(tmp_path), rate=4.0).load()
    assert splits.signal == Series(2, (4,), 4.0)
    assert list(splits.condition.names) == ["a", "b"]
    x, label = splits.test.__getitems__([1])
    torch.testing.assert_close(
        x[0], torch.tensor([[1, 1, torch.nan, 1.5], [0, 1, 2, 3]]), equal_nan=True
    )
    assert label.tolist() == [1]


# Files that a model is given


SIGNAL = Series(2, (40,), 20.0, ("left", "right"))


def file_of(folder: Path, n: int = 40, rate: float = 20.0, **more) -> str:
    t = np.arange(n) / rate
    columns = {"time": t, "right": np.cos(t), "note": ["x"] * n, "left": np.sin(t)}
    return write_csv(folder / "f.csv", {**columns, **more})


def test_a_file_is_read_by_the_names_of_its_channels(tmp_path):
    modality = modality_of(SIGNAL)
    x = modality.read(file_of(tmp_path), SIGNAL)
    t = torch.arange(40) / 20
    torch.testing.assert_close(x, torch.stack([t.sin(), t.cos()]))
    other = replace(SIGNAL, names=("left", "middle"))
    assert "has no middle" in told(lambda: modality.read(file_of(tmp_path), other))


def test_another_length_or_rate_is_told_of_or_converted(tmp_path):
    modality = modality_of(SIGNAL)
    long = file_of(tmp_path, 100)
    assert "--any_size" in told(lambda: modality.read(long, SIGNAL))
    assert modality.read(long, replace(SIGNAL, size=())).shape == (2, 100)
    assert modality.read(long, SIGNAL, convert=True).shape == (2, 40)
    short = modality.read(file_of(tmp_path, 30), SIGNAL, convert=True)
    assert short.isnan().all(0).tolist() == [False] * 30 + [True] * 10
    fast = file_of(tmp_path, 160, 80.0)
    assert "20 steps a second, got 80" in told(lambda: modality.read(fast, SIGNAL))
    x, t = modality.read(fast, SIGNAL, convert=True), (torch.arange(40) + 0.375) / 20
    torch.testing.assert_close(
        x[:, 1:-1], torch.stack([t.sin(), t.cos()])[:, 1:-1], atol=0.01, rtol=0
    )


def test_what_is_faster_than_the_new_rate_does_not_come_back_as_slow(tmp_path):
    t = np.arange(400) / 80
    wave = np.sin(2 * np.pi * 21 * t)  # a wave of 1 Hz at 20 steps a second, if it were dropped
    path = write_csv(tmp_path / "f.csv", {"time": t, "left": wave, "right": wave})
    x = modality_of(SIGNAL).read(path, replace(SIGNAL, size=()), convert=True)
    assert x[:, 2:-2].abs().max() < 0.2


def test_a_jump_is_told_of_or_becomes_a_gap(tmp_path):
    t = np.arange(40) / 20
    t[25:] += 5 / 20
    path = write_csv(tmp_path / "f.csv", {"time": t, "left": t, "right": t})
    modality, signal = modality_of(SIGNAL), replace(SIGNAL, size=())
    assert "before row 25" in told(lambda: modality.read(path, signal))
    x = modality.read(path, signal, convert=True)
    assert x.shape == (2, 45) and x.isnan()[0].nonzero()[:, 0].tolist() == [25, 26, 27, 28, 29]


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_a_series_is_written_with_its_times_names_and_gaps(tmp_path, suffix):
    modality, x = modality_of(SIGNAL), torch.from_numpy(noise(2, 40))
    x[1, 5:9] = torch.nan
    file = tmp_path / f"a{suffix}"
    modality.write(x, file, signal=SIGNAL)
    torch.testing.assert_close(modality.read(file, SIGNAL), x, equal_nan=True)
    modality.write(x, file, signal=SIGNAL)  # what smalti wrote may be replaced
    faster = replace(SIGNAL, rate=25.0)
    assert "25 steps a second, got 20" in told(lambda: modality.read(file, faster))
    if suffix == ".csv":
        with file.open("ab") as end:
            end.write(b"2,0,0\n")
        assert "was not written by smalti" in told(lambda: modality.write(x, file, signal=SIGNAL))


def test_gaps_are_what_is_missing_of_a_partial_file(tmp_path):
    gap = ["" if 10 <= i < 15 else i for i in range(40)]
    file = file_of(tmp_path, left=gap)
    modality = modality_of(SIGNAL)
    x, given = modality.read_partial(file, SIGNAL)
    assert (~given).nonzero()[:, 0].tolist() == [10, 11, 12, 13, 14]
    torch.testing.assert_close(x[0], torch.arange(40.0))  # straight lines
    assert "omit that" in told(lambda: modality.read_partial(file, SIGNAL, "begin"))


# Figures


def test_gaps_count_in_no_figure():
    x = torch.from_numpy(noise(8, 3, 50))
    x_hat, gaps = 0.5 * x, torch.rand(8, 3, 50) < 0.3
    known, all_of_them = SeriesError(), SeriesError()
    known.update(torch.where(gaps, torch.nan, x), torch.where(gaps, 1e6, x_hat))
    all_of_them.update(x, x_hat)
    a, b = (e.figures("test")["mse_over_variance"]["value"] for e in (known, all_of_them))
    assert a == pytest.approx(0.25, rel=0.05) and b == pytest.approx(0.25, rel=0.05)


def test_a_channel_has_its_own_variance():
    x = torch.from_numpy(noise(20, 2, 30)) * torch.tensor([1.0, 1e4])[:, None]
    error = SeriesError()
    error.update(x, torch.stack([torch.zeros(20, 30), x[:, 1]], 1))
    assert error.figures("t")["mse_over_variance"]["value"] == pytest.approx(0.5, rel=1e-3)


def test_the_spectrum_of_noise_is_its_variance():
    spectra = Spectra.of(torch.from_numpy(3 * noise(400, 1, 64)).split(50))
    assert spectra.power[0, 2:-1].mean().item() == pytest.approx(9, rel=0.05)


def test_of_a_band_where_there_is_hardly_any_power_no_share_of_it_is_told():
    """Smooth originals would have a share of millions beside reconstructions with some noise."""
    wave = torch.sin(2 * torch.pi * 2 * torch.arange(64) / 64)[None, None]
    noisy = wave + 0.1 * torch.from_numpy(noise(1, 1, 64))
    kept = power_kept(Spectra.of([wave]).power, Spectra.of([noisy]).power)
    assert kept["slow"][0] == pytest.approx(1, abs=0.2)
    assert math.isnan(kept["middle"][0]) and math.isnan(kept["fast"][0])
