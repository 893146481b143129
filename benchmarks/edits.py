"""Benchmark of editing: how far what is drawn under a mask is from what was there.

    python benchmarks/edits.py RUN [RUN ...] --n 100 --out edits.json --picture edits.png

Each RUN is a run directory with a label as the condition and a prior over tokens. Of n test images
the middle (3/8 of each side) and the right half are drawn anew, under their own label, in each of
`WAYS` that the prior takes. The error is the mean square under the mask, of pixels in [-1, 1]; that
of reconstructions is the least that tokens allow, and that of the smooth filling with which an
edit begins what can be had without a prior. There is more than one way to complete an image:
a small error shows that a prior uses what it is given, not that samples are good. The picture has
a row for each of the first `ROWS` images and both masks: the image, its masked form, and for each
run and way one edit.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import smalti
from smalti.conditions import Label, OptionalCondition
from smalti.generation import Model
from smalti.generation.filling import fill_smoothly
from smalti.runs import load_run_data
from smalti.training.cpu import speed_up_cpu

WAYS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.7},
    {"temperature": 0.7, "order": "confidence"},
    {"temperature": 0.0},
    {"guidance": 2.0},
)
ROWS, GAP = 3, 2


def masks(height: int, width: int) -> dict[str, Tensor]:
    """Returns the masks (H, W) by name."""
    middle, half = torch.zeros(2, height, width, dtype=torch.bool)
    middle[height * 5 // 16 : height * 11 // 16, width * 5 // 16 : width * 11 // 16] = True
    half[:, width // 2 :] = True
    return {"middle": middle, "half": half}


def label_of(model: Model, number: int) -> str:
    """Returns the name of a label by its number."""
    condition = model.condition
    if isinstance(condition, OptionalCondition):
        condition = condition.condition
    assert isinstance(condition, Label)
    return condition.names[number]


def edited(
    model: Model, images: Tensor, labels: Tensor, mask: Tensor, way: dict[str, Any]
) -> Tensor:
    """Returns one edit of each image (N, C, H, W)."""
    found = [
        model.edit(x, mask, label_of(model, int(label)), seed=seed, **way)
        for seed, (x, label) in enumerate(zip(images, labels, strict=True))
    ]
    return torch.cat(found)


def error(found: Tensor, images: Tensor, mask: Tensor) -> float:
    """Returns the mean square under the mask."""
    return (found - images).square()[..., mask].mean().item()


def picture(columns: list[Tensor]) -> Image.Image:
    """Lays out columns of images (R, C, H, W)."""
    tall = [torch.nn.functional.pad(each, (0, GAP, 0, GAP), value=1.0) for each in columns]
    whole = torch.cat([torch.cat([*each], 1) for each in tall], 2)
    whole = whole.expand(3, -1, -1)
    pixels = ((whole + 1) * 127.5).round().clamp(0, 255).byte()
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def main() -> None:
    """Edits, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("edits.json"))
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    speed_up_cpu()
    logging.disable(logging.WARNING)  # which says for each edit what a prior does not see
    rows: list[dict[str, Any]] = []
    columns: dict[Any, list[Tensor]] = {}
    for run in options.runs:
        model = smalti.load(run)
        assert model.run is not None and model.prior is not None
        data = load_run_data(model.run)
        assert data is not None
        chosen = torch.randperm(len(data.test), generator=torch.Generator().manual_seed(0))
        batch = data.test.__getitems__(chosen[: options.n].tolist())
        images, labels = batch.x, batch.condition
        assert isinstance(labels, Tensor)
        again = model.reconstruct(images)
        for name, mask in masks(*images.shape[-2:]).items():
            columns.setdefault("image", []).append(images[:ROWS])
            columns.setdefault("masked", []).append(images[:ROWS].masked_fill(mask, 0.1))
            filled = torch.stack([fill_smoothly(x, mask) for x in images])
            limits = {"least": error(again, images, mask), "filled": error(filled, images, mask)}
            for way in (each for each in WAYS if set(each) <= model.prior.takes):
                found = edited(model, images, labels, mask, way)
                columns.setdefault((run, str(way)), []).append(found[:ROWS])
                row = {"prior": type(model.prior).__name__, "mask": name, **way}
                row |= {"error": error(found, images, mask), **limits}
                rows.append(row)
                print(json.dumps(row), flush=True)
    options.out.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    if options.picture is not None:
        picture([torch.cat(each[:2]) for each in columns.values()]).save(options.picture)


if __name__ == "__main__":
    main()
