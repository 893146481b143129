"""Targeted change: does another token change only what is near it?

    python experiments/targeted_change.py --data /usr/share/datasets/fashion-mnist

The claim: tokens can be edited like words. Change those of a region, and the image changes in that
region; change a level of a hierarchy, and what that level holds changes.

A VQ-VAE learns Fashion-MNIST, 7×7 tokens of 4 px. In test images the 3×3 tokens at the middle of
the upper edge become others in two ways: those of another image, or new ones drawn by a PixelCNN
that knows the tokens outside. Both images, before and after, are decoded, and their difference is
measured as a function of the distance, in pixels, from the 12×12 px of the region. How far a token
can reach at all is found by random changes of random vectors: beyond, nothing may change. The
edited images are encoded again, too: what share of the tokens outside is then another one than
before?

A VQ-VAE-2 with two levels, 4×4 and 8×8 tokens of the images at 32 px, gets one of its levels from
another image. The change is split into that of the means of blocks of 8×8 px, a token of the coarse
level, and that of what is left; the share of the former says how coarse the change is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from common import Options, options, save, say, summary
from einops import reduce, repeat
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from models import pixelcnn, vq_vae, vq_vae_2
from torch import Tensor

from smalti.autoencoders import DiscreteAutoencoder, HierarchicalAutoencoder
from smalti.evaluation.batches import batches, choose_examples
from smalti.modalities.image import Images

NAME = "targeted_change"
STEPS = 450
ROWS, COLUMNS = slice(0, 3), slice(2, 5)  # of 7×7 tokens: far enough from the lower edge
PIXELS = 4  # a token
CACHED, TESTED, SHOWN = 8000, 500, 8
LEVELS = (64, 64)  # codebooks of the VQ-VAE-2
BLOCK = 8  # px a token of its coarse level
EDITS = {"swapped": "tokens of another image", "drawn": "drawn by the prior"}


def distances(size: tuple[int, int]) -> Tensor:
    """(H, W), int64: pixels from each pixel to the region, along the farther axis; 0 inside."""
    rows, columns = (
        torch.maximum(
            part.start * PIXELS - torch.arange(length),
            torch.arange(length) - (part.stop * PIXELS - 1),
        ).clamp_min(0)
        for part, length in zip((ROWS, COLUMNS), size, strict=True)
    )
    return torch.maximum(rows[:, None], columns)


@torch.no_grad()
def reach(model: DiscreteAutoencoder, grid: tuple[int, int]) -> int:
    """The farthest pixel from the region that any change of its tokens reaches.

    Found by random changes of many random inputs of the decoder, since a single one may leave a
    ReLU shut that others open.
    """
    z_q = torch.randn(64, model.quantizer.dim, *grid)
    changed = z_q.clone()
    changed[:, :, ROWS, COLUMNS] = torch.randn_like(changed[:, :, ROWS, COLUMNS])
    touched = (model.decoder(z_q) != model.decoder(changed)).flatten(0, 1).any(0)
    return int(distances((touched.shape[0], touched.shape[1]))[touched].max())


def edited(
    name: str, model: DiscreteAutoencoder, grids: Tensor, prior: torch.nn.Module, seed: int
) -> Tensor:
    """The grids (N, H, W) with other tokens in the region."""
    changed = grids.clone()
    if name == "swapped":
        changed[:, ROWS, COLUMNS] = grids.roll(1, 0)[:, ROWS, COLUMNS]
        return changed
    changed[:, ROWS, COLUMNS] = -1
    generator = torch.Generator().manual_seed(seed)
    drawn: Tensor = prior.sample(len(grids), known=changed, generator=generator)  # type: ignore[operator]
    return drawn


def profile(change: Tensor, apart: Tensor) -> list[float]:
    """Root mean square of a change (N, C, H, W) at each distance from 0 on."""
    squares = change.double().square().mean((0, 1))
    return [squares[apart == d].mean().sqrt().item() for d in range(int(apart.max()) + 1)]


def measure(model: DiscreteAutoencoder, before: Tensor, after: Tensor, far: int) -> dict[str, Any]:
    """The figures of one edit of token grids (N, H, W), whose influence ends `far` pixels away."""
    x, y = (torch.cat([model.decode(g) for g in grids.split(250)]) for grids in (before, after))
    apart = distances((x.shape[2], x.shape[3]))
    change = y - x
    again, edited_again = (model.encode(images) for images in (x, y))
    outside = torch.ones(before.shape[1:], dtype=torch.bool)
    outside[ROWS, COLUMNS] = False
    energy = change.double().square().sum((0, 1))
    beyond = change[:, :, apart > far]
    return {
        "profile": profile(change, apart),
        "share inside": (energy[apart == 0].sum() / energy.sum()).item(),
        "share within one token": (energy[apart <= PIXELS].sum() / energy.sum()).item(),
        "largest change beyond reach": beyond.abs().max().item() if beyond.numel() else 0.0,
        "tokens outside that differ when encoded again": (
            (again != edited_again)[:, outside].double().mean().item()
        ),
    }


def coarseness(change: Tensor) -> float:
    """The share of a change (N, C, H, W) that is in the means of blocks."""
    means = reduce(change, "n c (h a) (w b) -> n c h w", "mean", a=BLOCK, b=BLOCK)
    coarse = repeat(means, "n c h w -> n c (h a) (w b)", a=BLOCK, b=BLOCK)
    return (coarse.double().square().sum() / change.double().square().sum()).item()


def exchanged(
    model: HierarchicalAutoencoder, x: Tensor
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Figures of images x whose levels come from two images, and the first of them."""
    coarse, fine = model.encode(x)
    same = model.decode((coarse, fine))
    changes = {
        "coarse": model.decode((coarse.roll(1, 0), fine)),
        "fine": model.decode((coarse, fine.roll(1, 0))),
    }
    figures = {
        name: {
            "coarseness": coarseness(images - same),
            "size": (images - same).double().square().mean().sqrt().item(),
        }
        for name, images in changes.items()
    }
    both = (same.roll(1, 0) - same).double()
    figures["both"] = {
        "coarseness": coarseness(both),
        "size": both.square().mean().sqrt().item(),
    }
    pictures = {"as it was": same, **changes}
    return figures, {name: images[:SHOWN] for name, images in pictures.items()}


def run(chosen: Options) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Figures of every seed, and images of the first."""
    splits = Images(chosen.data, 28, channels=1).load()
    larger = Images(chosen.data, 32, channels=1).load()
    tested = choose_examples(splits.test, TESTED, seed=0)
    x, x_32 = (part.test.__getitems__(tested).x for part in (splits, larger))
    rows: list[dict[str, Any]] = []
    shown: dict[str, Tensor] = {}
    for seed in range(chosen.seeds):
        model = vq_vae(splits, chosen.budget, seed)
        cached = choose_examples(splits.train, CACHED, seed=0)
        training = torch.cat([model.encode(b.x) for b in batches(splits.train, cached, 500)])
        prior = pixelcnn(training, chosen.budget, seed)
        grids = model.encode(x)
        far = reach(model, (grids.shape[1], grids.shape[2]))
        edits: dict[str, Any] = {}
        pictures = {"as it was": model.decode(grids[:SHOWN])}
        for name in EDITS:
            changed = edited(name, model, grids, prior, seed)
            edits[name] = measure(model, grids, changed, far)
            pictures[EDITS[name]] = model.decode(changed[:SHOWN])
        levels, of_levels = exchanged(vq_vae_2(larger, chosen.budget, seed, LEVELS), x_32)
        rows.append({"seed": seed, "reach": far, "edits": edits, "levels": levels})
        say(str(rows[-1]))
        if seed == 0:
            shown = pictures | {f"level: {name}": of_levels[name] for name in ("coarse", "fine")}
            shown["levels as they were"] = of_levels["as it was"]
    return {"rows": rows, "summary": summaries(rows), "findings": findings(rows)}, shown


def summaries(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds."""
    edits = {
        name: {
            key: summary([row["edits"][name][key] for row in rows])
            for key in rows[0]["edits"][name]
            if key != "profile"
        }
        | {"profile": [summary(list(at)) for at in zip(*_profiles(rows, name), strict=True)]}
        for name in EDITS
    }
    levels = {
        name: {key: summary([row["levels"][name][key] for row in rows]) for key in figures}
        for name, figures in rows[0]["levels"].items()
    }
    return {"edits": edits, "levels": levels}


def _profiles(rows: Sequence[dict[str, Any]], name: str) -> list[list[float]]:
    return [row["edits"][name]["profile"] for row in rows]


def findings(rows: Sequence[dict[str, Any]]) -> dict[str, bool]:
    """What holds with every seed."""
    edits = [row["edits"][name] for row in rows for name in EDITS]
    levels = [row["levels"] for row in rows]
    return {
        "nothing changes beyond the decoder's reach": all(
            edit["largest change beyond reach"] == 0 for edit in edits
        ),
        "only the region itself changes": all(edit["share inside"] > 0.99 for edit in edits),
        "nine tenths of the change are inside the region": all(
            edit["share inside"] > 0.9 for edit in edits
        ),
        "nine tenths of the change are within one token of it": all(
            edit["share within one token"] > 0.9 for edit in edits
        ),
        "the coarse level changes coarser things than the fine one": all(
            level["coarse"]["coarseness"] > level["fine"]["coarseness"] for level in levels
        ),
        "the coarse level changes more than the fine one": all(
            level["coarse"]["size"] > level["fine"]["size"] for level in levels
        ),
    }


def draw(record: dict[str, Any], shown: dict[str, Tensor]) -> Figure:
    """The change over the distance, and pictures of every edit."""
    figure = Figure(figsize=(12, 5.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.15, 1], squeeze=False)[0]
    axes = left.subplots()
    for colour, (name, title) in enumerate(EDITS.items()):
        at = record["summary"]["edits"][name]["profile"]
        axes.errorbar(
            range(len(at)),
            [value["mean"] for value in at],
            [value["sd"] or 0 for value in at],
            color=f"C{colour}",
            marker="o",
            capsize=2,
            label=title,
        )
    far = max(row["reach"] for row in record["rows"])
    axes.axvline(far + 0.5, color="grey", linestyle=":", label=f"reach of the decoder, {far} px")
    axes.axvspan(-0.5, 0.5, color="grey", alpha=0.12, label="inside the region")
    axes.set_xlabel("distance from the region, px")
    axes.set_ylabel("RMS change of a pixel, on [-1, 1]")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    panels = right.subplots(len(shown), 1)
    for place, (panel, name) in enumerate(zip(panels, _order(shown), strict=True)):
        _strip(panel, shown[name], name, framed="level" not in name and place < 3)
    return figure


def _order(shown: dict[str, Tensor]) -> list[str]:
    levels = ["levels as they were", "level: coarse", "level: fine"]
    return [name for name in shown if name not in levels] + levels


def _strip(axes: Axes, images: Tensor, title: str, framed: bool) -> None:
    """Images (N, 1, H, W) side by side, with the region's frame."""
    axes.imshow(torch.cat(list(images[:, 0]), 1).numpy(), cmap="gray", vmin=-1, vmax=1)
    if framed:
        side = images.shape[3]
        top, bottom = (edge * PIXELS - 0.5 for edge in (ROWS.start, ROWS.stop))
        for place in range(len(images)):
            left, right = (
                edge * PIXELS - 0.5 + place * side for edge in (COLUMNS.start, COLUMNS.stop)
            )
            corners = [left, right, right, left, left], [top, top, bottom, bottom, top]
            axes.plot(*corners, color="C1", linewidth=0.8)
    axes.set_axis_off()
    axes.set_title(title, fontsize=8, loc="left", pad=2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs, and writes JSON and figure."""
    chosen = options(__doc__, arguments, budget=STEPS)
    record, shown = run(chosen)
    save(NAME, chosen, record, draw(record, shown))


if __name__ == "__main__":
    main()
