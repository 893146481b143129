"""What is held out is decided by content: laws of the split, and of draws from a set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smalti.data import SplitFractions
from smalti.data.splitting import fingerprint, held_out_mask
from smalti.errors import InputError
from smalti.modalities.image import Images
from smalti.modalities.image.pixels import Pixels
from smalti.synthetic import Clocks

FASHION = Path(__file__).parents[1] / "data" / "fashion-mnist"


def prints(numbers) -> np.ndarray:
    return np.stack([np.frombuffer(fingerprint(str(n).encode()), np.uint8) for n in numbers])


def write(folder: Path, name: str, seed: int) -> None:
    """An image of its own for each seed."""
    file = folder / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)


def split_of(splits) -> dict[bytes, str]:
    """Which split each image is in, by its content."""
    return {
        bytes((255 * x).short().numpy()): name
        for name in ("train", "validation", "test")
        for x in getattr(splits, name).__getitems__(range(len(getattr(splits, name)))).x
    }


def test_new_files_and_other_names_change_no_split(tmp_path):
    folder = tmp_path / "images"
    for i in range(60):
        write(folder, f"{'ab'[i % 2]}/{i:03d}", i)
    before = split_of(Images(str(folder), 6).load())
    assert sorted(set(before.values())) == ["test", "train", "validation"]
    for i in range(60, 90):
        write(folder, f"{'ab'[i % 2]}/_{i}", i)
    for i in range(0, 60, 3):
        file = folder / "ab"[i % 2] / f"{i:03d}.png"
        file.rename(file.with_name(f"zz{i}.png"))
    after = split_of(Images(str(folder), 6).load())
    assert len(after) == 90
    assert {key: after[key] for key in before} == before


@pytest.mark.parametrize("n", [40, 400])
def test_one_more_image_changes_no_split(n):
    content = prints(range(n + 1))
    for seed in range(100):
        before = held_out_mask(content[:n], None, "test", 0.1, seed)
        assert (held_out_mask(content, None, "test", 0.1, seed)[:n] == before).all()
        assert before.any()


def test_a_label_of_one_image_has_it_in_training_with_every_seed(tmp_path):
    for i in range(40):
        write(tmp_path, f"{'ab'[i % 2]}/{i}", i)
    write(tmp_path, "rare/alone", 1000)
    write(tmp_path, "two/one", 1001)
    write(tmp_path, "two/other", 1002)
    source = Images(str(tmp_path), 6)
    shares = []
    for seed in range(60):
        source.held_out = SplitFractions(seed=seed)
        splits = source.load()
        assert splits.train.conditions.unique().tolist() == [0, 1, 2, 3]
        assert 2 not in splits.test.conditions
        shares.append(len(splits.test) / 43)
    assert np.mean(shares) == pytest.approx(0.1, abs=0.02)


def test_each_label_has_its_share():
    labels = np.repeat(np.arange(5), 2000)
    held = held_out_mask(prints(range(10_000)), labels, "test", 0.1, 0)
    assert np.bincount(labels[held]) == pytest.approx(np.full(5, 200), abs=45)


def test_labels_of_one_image_each_still_leave_some_to_measure_with():
    for n in (3, 10, 900):
        held = held_out_mask(prints(range(n)), np.arange(n), "test", 0.1, 0)
        assert held.sum() == max(1, round(0.1 * n / 4))


def test_exact_copies_are_together(tmp_path):
    for i in range(60):
        for place in "abc"[: 1 + i % 3]:
            write(tmp_path, f"{place}/{i}", i)
    splits = Images(str(tmp_path), 6).load()
    assert sum(map(len, splits[:3])) == 120
    seen = [
        set(map(bytes, splits.manifest.fingerprints[splits.manifest.splits == s])) for s in range(3)
    ]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 60
    with pytest.raises(InputError, match="all different, got 3 examples, of which 1 can be"):
        held_out_mask(prints([1, 1, 1]), None, "test", 0.5, 0)


@pytest.mark.parametrize(
    ("contents", "got"),
    [
        ([1] * 5, "3 are needed here, got 5, of which 1 can be told apart"),
        ([1, 1, 1, 2, 2], "3 are needed here, got 5, of which 2 can be told apart"),
        ([1, 2], "3 are needed here, got 2: add"),
    ],
)
def test_images_that_are_alike_are_counted(tmp_path, contents, got):
    for place, content in enumerate(contents):
        write(tmp_path, f"{place}", content)
    with pytest.raises(InputError, match=got):
        Images(str(tmp_path), 6).load()


def test_copies_between_given_splits_are_said(tmp_path, caplog):
    for i in range(8):
        write(tmp_path, f"train/{i}", i)
    for i in range(5, 10):
        write(tmp_path, f"test/{i}", i)
    Images(str(tmp_path), 6).load()
    assert "of the test images are training images too" in caplog.text


def test_the_seed_and_the_split_decide():
    content = prints(range(1000))
    held = [held_out_mask(content, None, *how, 0) for how in (("test", 0.5), ("validation", 0.5))]
    other = held_out_mask(content, None, "test", 0.5, 1)
    for a, b in (held, (held[0], other)):
        assert 0.4 < (a == b).mean() < 0.6


def test_the_manifest_says_what_each_example_is(tmp_path):
    for i in range(150):
        write(tmp_path, f"{'ab'[i % 2]}/{i}", i)
    (tmp_path / "a" / "broken.png").write_bytes(b"no image")
    splits = Images(str(tmp_path), 6).load()
    manifest = splits.manifest
    assert manifest.label_names == ("a", "b")
    assert manifest.left_out == (("a/broken.png", "not an image"),)
    assert list(manifest.counts().values()) == [len(examples) for examples in splits[:3]]
    row = 0
    for number, examples in enumerate(splits[:3]):
        for batch in map(examples.__getitem__, range(len(examples))):
            file = tmp_path / manifest.name(row)
            stored = torch.from_numpy(np.array(Image.open(file)).transpose(2, 0, 1))
            assert torch.equal(batch.x[0], stored / 127.5 - 1)
            assert manifest.fingerprints[row].tobytes() == fingerprint(file.read_bytes())
            assert manifest.label_name(row) == file.parent.name
            assert manifest.splits[row] == number
            row += 1


def test_idx_images_are_known_by_their_pixels():
    manifest = Images(str(FASHION), 28, channels=1).load().manifest
    assert len(np.unique(manifest.fingerprints, axis=0)) == len(manifest) == 250


# Draws


def test_a_draw_has_each_label_though_they_lie_sorted():
    labels = torch.tensor(90 * [0] + 60 * [1] + 40 * [2] + 10 * [3] + [4])
    examples = Pixels(torch.arange(201, dtype=torch.uint8)[:, None, None, None], labels)
    for seed in range(20):
        drawn = examples.drawn(50, seed)
        counts = drawn.conditions.bincount(minlength=5).tolist()
        assert counts == pytest.approx([22, 15, 10, 3, 1], abs=1)
        assert torch.equal(drawn.conditions, drawn.__getitems__(range(50)).condition)
        assert drawn.conditions_at([49]).tolist() == drawn.conditions[-1:].tolist()
    one, same, other = (examples.drawn(50, seed).rows.tolist() for seed in (0, 0, 1))
    assert one == same == sorted(one)
    assert one != other
    assert examples.drawn(201, 0) is examples
    assert examples.drawn(3, 0).conditions.unique().numel() == 3


def test_a_draw_without_labels_is_from_everywhere():
    examples = Pixels(torch.zeros(1000, 1, 1, 1, dtype=torch.uint8), None)
    assert 300 < examples.drawn(100, 0).rows.float().mean() < 700
    endless = Clocks(length=None, size=32, validation=4, test=4).load().train
    assert len(endless.drawn(5, 3)) == 5
    assert torch.equal(endless.drawn(5, 3)[4].x, endless[4].x)
