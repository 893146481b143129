"""Laws that every source of data keeps; another one joins by a line in SOURCES."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from pulse import Pulses
from smalti.data import Examples, Source, Splits
from smalti.modalities.audio import SoundColumns, Sounds
from smalti.modalities.base import import_modalities
from smalti.modalities.image import Columns, Images
from smalti.modalities.series import TimeSeries
from smalti.modalities.vector import Vectors
from smalti.synthetic import Clocks, FactorGrid


def images(folder: Path) -> Source:
    for label, colour in (("dark", 40), ("light", 200)):
        (folder / label).mkdir()
        for i in range(10):
            Image.new("RGB", (12, 9), (colour, 10 * i, 0)).save(folder / label / f"{i}.png")
    return Images(str(folder), 8)


def captioned_images(folder: Path) -> Source:
    for i in range(20):
        Image.new("RGB", (8, 8), (12 * i, 0, 0)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"red number {i}\n")
    return Images(str(folder), 8, columns=Columns(text="text"))


def tables(folder: Path) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for i in range(20):
        Image.new("L", (8, 8), 12 * i).save(folder / "a.png")
        rows.append({"bytes": (folder / "a.png").read_bytes(), "path": None})
    (folder / "a.png").unlink()
    pq.write_table(pa.table({"image": rows}), folder / "train.parquet")
    return Images(str(folder), 8, channels=1)


def vectors(folder: Path) -> Source:
    np.save(folder / "a.npy", np.random.default_rng(0).normal(size=(40, 6)).astype(np.float16))
    return Vectors(str(folder / "a.npy"))


def table_of_vectors(folder: Path) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    x = np.random.default_rng(1).normal(size=(60, 6))
    columns = {"id": [f"item {i}" for i in range(60)], "label": ["a", "b", "c"] * 20}
    pq.write_table(pa.table({**columns, "x": list(x)}), folder / "items.parquet")
    return Vectors(str(folder / "items.parquet"))


def series(folder: Path) -> Source:
    t = np.arange(900) / 50
    rows = [f"{s},{np.sin(3 * s)},{np.cos(s)},{'walk' if s % 6 < 3 else 'rest'}" for s in t]
    (folder / "a.csv").write_text("\n".join(["time,x,y,label", *rows]))
    return TimeSeries(str(folder / "a.csv"), size=16)


def array_of_series(folder: Path) -> Source:
    x = np.random.default_rng(0).normal(size=(30, 2, 12))
    x[3, 1, 4:7] = np.nan
    np.savez(folder / "a.npz", x=x, label=np.arange(30) % 3)
    return TimeSeries(str(folder / "a.npz"))


def sounds(folder: Path) -> Source:
    draw = np.random.default_rng(0)
    for label in ("low", "high"):
        (folder / label).mkdir()
        for i in range(10):
            samples = draw.normal(size=int(draw.integers(200, 900))) * 0.1
            soundfile.write(folder / label / f"{i}.wav", samples, 8000)
    return Sounds(str(folder), seconds=0.05)


def table_of_sounds(folder: Path) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = np.random.default_rng(0)
    columns = {
        "audio": [draw.normal(size=400).clip(-1, 1).tolist() for _ in range(24)],
        "sampling_rate": [8000] * 24,
        "label": [0, 1, 2, 3] * 6,
        "speaker": ["anna", "ben"] * 12,
    }
    pq.write_table(pa.table(columns), folder / "train.parquet")
    return Sounds(str(folder), columns=SoundColumns(speaker="speaker"))


SOURCES: dict[str, Callable[[Path], Source]] = {
    "clocks": lambda _: Clocks(16, length=12, validation=4, test=6),
    "endless clocks": lambda _: Clocks(16, length=None, validation=4, test=6),
    "shapes": lambda _: FactorGrid(),
    "folder of images": images,
    "captioned images": captioned_images,
    "table of images": tables,
    "array of vectors": vectors,
    "table of vectors": table_of_vectors,
    "long series": series,
    "array of series": array_of_series,
    "folder of sounds": sounds,
    "table of sounds": table_of_sounds,
    "pulses": lambda _: Pulses(n=12),
}
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module", params=SOURCES)
def source(request, tmp_path_factory) -> Source:
    return SOURCES[request.param](tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def splits(source) -> Splits:
    return source.load()


def some(examples: Examples) -> list[int]:
    return [3, 0, 2] if len(examples) > 3 else list(range(len(examples)))[::-1]


def alike(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Equal, gaps too."""
    return x.shape == y.shape and bool(((x == y) | (x.isnan() & y.isnan())).all())


@pytest.mark.parametrize("split", SPLITS)
def test_its_examples_are_of_its_signal_and_condition(splits, split):
    examples = getattr(splits, split)
    batch = examples.__getitems__(some(examples))
    splits.signal.check(batch.x)
    assert batch.x.dtype == torch.float32
    assert (batch.condition is None) == (splits.condition is None)
    if splits.condition is not None:
        assert batch.condition.dtype == splits.condition.dtype
        splits.condition.check(batch.condition)


@pytest.mark.parametrize("split", SPLITS)
def test_the_ith_example_is_always_the_same(source, splits, split):
    examples, again = getattr(splits, split), getattr(source.load(), split)
    lone = source.examples(split)
    indices = some(examples)
    batch = examples.__getitems__(indices)
    for other in (again, lone, copy.deepcopy(examples)):
        assert len(other) == len(examples)
        assert alike(other.__getitems__(indices).x, batch.x)
    for place, index in enumerate(indices):  # alone as among others, in any order
        assert alike(examples[index].x[0], batch.x[place])


def test_a_version_of_an_example_is_always_the_same(source, splits):
    examples, again = splits.train, source.load().train
    indices = some(examples)
    batch = examples.varied(indices, [7] * len(indices))
    splits.signal.check(batch.x)
    plain = examples.__getitems__(indices)
    assert (batch.condition is None) == (plain.condition is None)
    assert batch.condition is None or torch.equal(batch.condition, plain.condition)
    for place, index in enumerate(indices):
        assert alike(again.varied([index], [7]).x[0], batch.x[place])
    assert examples.varies or alike(batch.x, plain.x)
    if not examples.endless:
        assert examples.drawn(2, seed=0).varies == examples.varies == examples.first(2).varies


@pytest.mark.parametrize("split", SPLITS)
def test_conditions_are_those_of_the_examples(splits, split):
    examples = getattr(splits, split)
    indices = some(examples)
    conditions = examples.conditions_at(indices)
    if splits.condition is None:
        assert conditions is None
        return
    assert torch.equal(conditions, examples.__getitems__(indices).condition)
    if not examples.endless:
        assert torch.equal(examples.conditions[indices], conditions)


@pytest.mark.parametrize("split", SPLITS)
def test_the_first_n_are_the_first(splits, split):
    examples = getattr(splits, split)
    first = examples.first(2)
    assert len(first) == min(2, len(examples))
    assert alike(first[0].x, examples[0].x)
    drawn = examples.first(len(examples) if not examples.endless else 8).drawn(2, seed=1)
    assert len(drawn) >= min(2, len(examples))


def test_what_changes_training_batches_keeps_them_signals(splits):
    if splits.augment is not None:
        x = splits.train.__getitems__(some(splits.train)).x
        splits.signal.check(splits.augment(x))


def test_a_manifest_has_a_row_for_each_example(splits):
    if splits.manifest is not None:
        counts = splits.manifest.counts()
        assert counts == {split: len(getattr(splits, split)) for split in SPLITS}


def test_every_source_of_a_kind_of_data_is_here():
    made = {"Clocks", "Images", "Pulses", "FactorGrid", "Sounds", "TimeSeries", "Vectors"}
    assert {s.__name__ for room in import_modalities() for s in room.sources()} <= made
