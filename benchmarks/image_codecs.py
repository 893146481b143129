"""Benchmark of compressed images: a run beside JPEG, WebP and JPEG XL at their lowest rates.

    python benchmarks/image_codecs.py RUN --examples 200
    python benchmarks/image_codecs.py RUN --data kodak.parquet --crop 64 --examples 200

Of the run's own test images, or of crops of others, each is coded by itself: by the run under its
learned prior, the unigram and uniform, and by JPEG and WebP (Pillow) and JPEG XL (cjxl, where it is
installed) at several qualities. Printed are, means over all images,

    bytes             of the file, and of an archive of all, by image
    bits per pixel    of what the archive takes; of the other formats of the file without what a
                      file of one grey image of this size takes, as their headers are most of it
    PSNR              in dB, on [0, 1]
    feature distance  between image and reconstruction, in the features of a classifier trained on
                      the labels of the run's data: mean square over the variance of the features
    as labelled       share of reconstructions that it takes for what they are, with the run's own
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

import smalti
from smalti.codec import Coded
from smalti.evaluation.classifier import train_classifier
from smalti.generation import Model
from smalti.generation.compression import CODERS, codec_of, conditioned, signals_of, tokens_of
from smalti.modalities.base import Classifier
from smalti.modalities.image.metrics import psnr
from smalti.runs import load_run_data

QUALITIES = {
    "jpeg": (1, 5, 10, 20, 40),
    "webp": (0, 5, 20, 50),
    "jxl": (25, 15, 8, 4),
}  # of JPEG XL distances


class Coding(NamedTuple):
    """What became of all images.

    Attributes:
        name: What they were coded by.
        alone: Bytes of a file of one image, the mean.
        payload: Bytes that count, the mean.
        x_hat: (N, C, H, W).
    """

    name: str
    alone: float
    payload: float
    x_hat: Tensor


def main() -> None:
    """Parses the command line and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--steps", type=int, default=400)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = smalti.load(given.run)
    assert model.run is not None
    splits = load_run_data(model.run)
    classifier = train_classifier(splits, given.steps, 0).eval()
    labels = None
    if given.data is None:
        drawn = splits.test.drawn(given.examples, 0)
        x, labels = drawn.__getitems__(range(len(drawn)))
    else:
        x = crops(given.data, given.crop, given.examples)
    print(f"{len(x)} images {tuple(x.shape[1:])}")
    variance = float(features(classifier, x).var(0).sum())
    for coding in (*by_run(model, x, labels), *by_formats(x)):
        apart = (features(classifier, coding.x_hat) - features(classifier, x)).square()
        line = (
            f"{coding.name:14} {coding.alone:7.1f} bytes, {coding.payload:7.1f} that count, "
            f"{8 * coding.payload / x[0, 0].numel():6.3f} bits per pixel, PSNR "
            f"{psnr(coding.x_hat, x):5.2f}, feature distance "
            f"{float(apart.sum(1).mean()) / variance:.3f}"
        )
        if labels is not None:
            right = float((scores(classifier, coding.x_hat).argmax(1) == labels).float().mean())
            line += f", as labelled {right:.1%}"
        print(line, flush=True)


def by_run(model: Model, x: Tensor, labels: Tensor | None) -> Iterator[Coding]:
    """Yields what the run makes of images (N, C, H, W), under each prior that it has."""
    own = tuple(x.shape[2:]) == tuple(model.signal.size)
    levels = tokens_of(model, x, not own)
    size = None if own else tuple(x.shape[2:])
    for prior in CODERS:
        codec = codec_of(model, prior)
        whole = Coded(levels, size=size)
        words = None
        if prior == "learned" and model.condition is not None and labels is not None:
            words = [model.condition.format(value) for value in labels.tolist()]
        whole = conditioned(codec, whole, words)
        parts = [
            whole._replace(
                levels=tuple(level[n : n + 1] for level in levels),
                name=f"{n}",
                context=None
                if whole.context is None
                else whole.context[n % len(whole.context)][None],
            )
            for n in range(len(x))
        ]
        content = codec.encode_all(parts)
        some = [len(codec.encode_all([part._replace(name="0")])) for part in parts[:32]]
        found = codec.decode_all(content)
        joined = found[0]._replace(
            levels=tuple(torch.cat(level) for level in zip(*(f.levels for f in found), strict=True))
        )
        x_hat = signals_of(model, joined)
        yield Coding(f"run, {prior}", float(np.mean(some)), len(content) / len(x), x_hat)


def by_formats(x: Tensor) -> Iterator[Coding]:
    """Yields what JPEG, WebP and JPEG XL make of images (N, C, H, W), at each quality."""
    pictures = [picture(one) for one in x]
    grey = Image.new(pictures[0].mode, pictures[0].size, (128,) * x.shape[1])
    for kind, qualities in QUALITIES.items():
        if kind == "jxl" and shutil.which("cjxl") is None:
            print("jxl: cjxl is not installed")
            continue
        for quality in qualities:
            made = [CODED[kind](one, quality) for one in pictures]
            header = len(CODED[kind](grey, quality)[0])
            sizes = [len(content) for content, _ in made]
            x_hat = torch.stack([values(decoded, x.shape[1]) for _, decoded in made])
            mean = float(np.mean(sizes))
            yield Coding(f"{kind}, {quality}", mean, max(mean - header, 0), x_hat)


def by_pillow(kind: str) -> Callable[[Image.Image, int], tuple[bytes, Image.Image]]:
    """Returns what codes and decodes a picture by Pillow."""

    def coded(one: Image.Image, quality: int) -> tuple[bytes, Image.Image]:
        out = io.BytesIO()
        options = {"optimize": True} if kind == "jpeg" else {"method": 6}
        one.save(out, kind, quality=quality, **options)
        return out.getvalue(), Image.open(io.BytesIO(out.getvalue()))

    return coded


def by_cjxl(one: Image.Image, quality: int) -> tuple[bytes, Image.Image]:
    """Codes and decodes a picture by the programs of JPEG XL."""
    with tempfile.TemporaryDirectory() as folder:
        source, small, back = (f"{folder}/{name}" for name in ("a.png", "a.jxl", "b.png"))
        one.save(source)
        for words in (
            ["cjxl", source, small, "-d", str(quality), "-e", "9"],
            ["djxl", small, back],
        ):
            subprocess.run(words, check=True, capture_output=True)
        return Path(small).read_bytes(), Image.open(io.BytesIO(Path(back).read_bytes()))


CODED = {"jpeg": by_pillow("jpeg"), "webp": by_pillow("webp"), "jxl": by_cjxl}


def crops(path: Path, size: int, count: int) -> Tensor:
    """Cuts images of a parquet file into crops (N, 3, size, size), drawn by a fixed seed."""
    rng = np.random.default_rng(0)
    rows = pq.read_table(path)["image"].to_pylist()
    images = [np.array(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in rows]
    cut = []
    for n in range(count):
        image = images[n % len(images)]
        top, left = (int(rng.integers(length - size + 1)) for length in image.shape[:2])
        cut.append(image[top : top + size, left : left + size])
    return torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).float() / 127.5 - 1


def picture(x: Tensor) -> Image.Image:
    """Makes a picture of an image (C, H, W)."""
    pixels = ((x + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[..., 0] if len(x) == 1 else pixels)


def values(one: Image.Image, channels: int) -> Tensor:
    """Makes an image (C, H, W) of a picture."""
    pixels = np.array(one.convert("L" if channels == 1 else "RGB"))
    return (
        torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1).float()
        / 127.5
        - 1
    )


@torch.no_grad()
def features(classifier: Classifier, x: Tensor) -> Tensor:
    """Computes the features (N, F) of images."""
    return torch.cat([classifier.features(part) for part in x.split(128)])


@torch.no_grad()
def scores(classifier: Classifier, x: Tensor) -> Tensor:
    """Computes the logits (N, classes) of images."""
    return torch.cat([classifier(part) for part in x.split(128)])


if __name__ == "__main__":
    main()
