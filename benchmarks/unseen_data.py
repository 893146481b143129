"""Recipes on data that nobody tuned them on: the sets, and a table of what was learned.

    python benchmarks/unseen_data.py fashion /usr/share/datasets/fashion-mnist fashion9k
    python benchmarks/unseen_data.py emoji FOLDER_OF_EMOJI64 emoji2k
    python benchmarks/unseen_data.py digits digits500
    python benchmarks/unseen_data.py few fashion9k garments400
    smalti fit images32 --data fashion9k --out runs/fashion9k
    smalti fit images64 --data emoji2k --out runs/emoji2k
    python benchmarks/unseen_data.py table runs/fashion9k runs/emoji2k

The sets are folders `train` and `test` with a folder for each label: the first 9,000 training
images of Fashion-MNIST, 900 of them drawn for the test; 2,000 training images of a set of emoji
drawn at random, and all its test images, with the group as label; 500 digits to train on and 500 to
test, of DejaVu fonts in random colours, sizes and slants; the first 40 training images of each
label of another set, with all its test images. Drawn with seed 0.

The table has a line for each run, read from its report.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow.parquet
from PIL import Image, ImageDraw, ImageFont

GARMENTS = "tshirt trouser pullover dress coat sandal shirt sneaker bag boot".split()
FIRST, TEST, FEW = 9000, 900, 2000  # images
DIGITS, OF_A_LABEL = 500, 40  # images of a split; training images

FIGURES = {
    "MSE/variance": ("reconstruction", "mse_over_variance"),
    "nats per index": ("rate", "prior", "nats_per_index"),
    "Fréchet distance": ("frechet", "prior"),
    "of reconstructions": ("frechet", "reconstructions"),
    "of training images": ("frechet", "train"),
    "right label": ("conditional_accuracy", "prior"),
    "of test images": ("conditional_accuracy", "test"),
}
FACTS = ("Steps taken", "Training", "Overfitting of the prior")


def fashion(source: Path, out: Path) -> None:
    """The first 9,000 images of the IDX files in a folder."""
    images = _idx(source / "train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)[:FIRST]
    labels = _idx(source / "train-labels-idx1-ubyte.gz", 8)[:FIRST]
    test = set(np.random.default_rng(0).permutation(FIRST)[:TEST].tolist())
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = out / ("test" if number in test else "train") / GARMENTS[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:05d}.png")


def emoji(source: Path, out: Path) -> None:
    """2,000 training images and all test images of a folder of parquets."""
    generator = np.random.default_rng(0)
    generator.permutation(FIRST)  # the figures are of sets that one generator drew
    for split in ("train", "test"):
        table = pyarrow.parquet.read_table(sorted(source.glob(f"{split}-*.parquet")))
        rows = np.arange(len(table))
        if split == "train":
            rows = np.sort(generator.permutation(len(table))[:FEW])
        images, groups = table["image"], table["group"].to_pylist()
        for row in rows.tolist():
            folder = out / split / str(groups[row])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{row:05d}.png").write_bytes(images[row].as_py()["bytes"])


def digits(out: Path) -> None:
    """500 digits to train on and as many to test, of the fonts that matplotlib brings."""
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    fonts = [file for file in sorted(folder.glob("DejaVu*.ttf")) if "Display" not in file.name]
    generator = random.Random(0)
    for split in ("train", "test"):
        for number in range(DIGITS):
            made = out / split / str(number % 10)
            made.mkdir(parents=True, exist_ok=True)
            _digit(number % 10, fonts, generator).save(made / f"{number:04d}.png")


def few(source: Path, out: Path) -> None:
    """The first 40 training images of each label of a set, and all its test images."""
    for folder in sorted((source / "train").iterdir()):
        (out / "train" / folder.name).mkdir(parents=True)
        for file in sorted(folder.iterdir())[:OF_A_LABEL]:
            shutil.copy(file, out / "train" / folder.name)
    shutil.copytree(source / "test", out / "test")


def _digit(digit: int, fonts: list[Path], generator: random.Random) -> Image.Image:
    """A digit of any font, size, slant and colours, bright on dark, 25 to 41 px wide and high."""
    width, height = generator.randint(25, 41), generator.randint(25, 41)
    dark = tuple(generator.randint(0, 90) for _ in range(3))
    font = generator.choice(fonts)
    drawn = ImageFont.truetype(font, int(min(width, height) * generator.uniform(0.6, 0.95)))
    bright = tuple(generator.randint(150, 255) for _ in range(3))
    image = Image.new("RGB", (width, height), dark)
    ImageDraw.Draw(image).text(
        (width / 2, height / 2), str(digit), font=drawn, anchor="mm", fill=bright
    )
    slant = generator.uniform(-15, 15)
    return image.rotate(slant, resample=Image.Resampling.BILINEAR, fillcolor=image.getpixel((0, 0)))


def table(runs: list[Path]) -> None:
    """Prints a line for each run."""
    print("| run |", " | ".join(FIGURES), "|", " | ".join(FACTS), "|")
    print("|---" * (1 + len(FIGURES) + len(FACTS)) + "|")
    for run in runs:
        report = json.loads((run / "report.json").read_text(encoding="utf-8"))
        cells = [run.name]
        for path in FIGURES.values():
            figure = report["figures"]
            for key in path:
                figure = figure[key]
            cells.append(f"{figure['value']:.3g}")
        cells += [report["facts"].get(name, "–") for name in FACTS]
        print("|", " | ".join(cells), "|")


def _idx(file: Path, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=header)


def main() -> None:
    """Makes a set, or prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_subparsers(dest="what", required=True)
    for name in ("fashion", "emoji", "few", "digits"):
        made = what.add_parser(name)
        if name != "digits":
            made.add_argument("source", type=Path)
        made.add_argument("out", type=Path)
    what.add_parser("table").add_argument("runs", type=Path, nargs="+")
    options = parser.parse_args()
    if options.what == "table":
        table(options.runs)
    elif options.what == "digits":
        digits(options.out)
    else:
        {"fashion": fashion, "emoji": emoji, "few": few}[options.what](options.source, options.out)


if __name__ == "__main__":
    main()
