"""Interpolation: what lies between two images of contrasting classes, in VAE and in VQ-VAE?

    python experiments/interpolation.py --data /usr/share/datasets/fashion-mnist

The claim: discrete latents "sometimes give unreasonable interpolations", while the line between two
latents of a VAE stays among plausible images.

Both models learn Fashion-MNIST with the same convolutions. Test images of two classes are joined,
trouser and bag, T-shirt and sneaker, dress and ankle boot, pullover and sandal, in nine steps:

    VAE              decode((1 − t) z_a + t z_b)
    VQ-VAE, vectors  decode(quantize((1 − t) z_e,a + t z_e,b))
    VQ-VAE, tokens   decode(a grid with a share t of its tokens from b, at random places)
    pixels           (1 − t) x_a + t x_b, which needs no model and which nobody takes for reasonable

Measured at every step: how sure a classifier that has seen only real images is of its first choice;
how much of its belief goes to classes that are neither of the two; and the root mean square
distance to the nearest of the training images. For each there is the same figure of real test
images beside it. A blurred image is nearer to all others than a sharp one, so the distance alone
says little; that is why the pixels are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from common import Options, options, save, say, summary
from einops import rearrange
from matplotlib.figure import Figure, SubFigure
from models import vae, vq_vae
from torch import Tensor

from smalti.autoencoders import DiscreteAutoencoder, VariationalAutoencoder
from smalti.data import Examples
from smalti.evaluation.batches import choose_examples
from smalti.evaluation.classifier import train_classifier
from smalti.modalities.base import Classifier
from smalti.modalities.image import Images

NAME = "interpolation"
STEPS = 1000
PAIRS = ((1, 8), (0, 7), (3, 9), (2, 5))
PAIR_NAMES = ("trouser – bag", "T-shirt – sneaker", "dress – ankle boot", "pullover – sandal")
EACH = 25  # pairs of images for each pair of classes
POINTS = 9
NEIGHBOURS = 20_000  # training images that the nearest is sought among
LATENTS, CODEBOOK = 16, 128
WAYS = {
    "vae": "VAE",
    "vectors": "VQ-VAE, vectors",
    "tokens": "VQ-VAE, tokens",
    "pixels": "pixels",
}
MEASURES = {
    "confidence": "probability of the classifier's first choice",
    "elsewhere": "probability of all other classes than the two",
    "distance": "RMS distance to the nearest training image",
}


def ends(test: Examples) -> tuple[Tensor, Tensor, Tensor]:
    """Images x_a, x_b (N, C, H, W) of each pair of classes in turn, and the classes (N, 2)."""
    labels = test.conditions
    assert labels is not None
    a: list[int] = []
    b: list[int] = []
    classes: list[tuple[int, int]] = []
    for pair in PAIRS:
        first, second = ((labels == label).nonzero()[:EACH, 0] for label in pair)
        n = min(len(first), len(second))
        a, b = [*a, *first[:n].tolist()], [*b, *second[:n].tolist()]
        classes += n * [pair]
    return test.__getitems__(a).x, test.__getitems__(b).x, torch.tensor(classes)


@torch.no_grad()
def ways(
    continuous: VariationalAutoencoder,
    discrete: DiscreteAutoencoder,
    x_a: Tensor,
    x_b: Tensor,
    seed: int,
) -> dict[str, Tensor]:
    """The images on every way, (POINTS, N, C, H, W) each."""
    z_a, z_b = continuous.encode(x_a), continuous.encode(x_b)
    e_a, e_b = (rearrange(discrete.encoder(x), "n d h w -> n h w d") for x in (x_a, x_b))
    grid_a, grid_b = discrete.quantizer.encode(e_a), discrete.quantizer.encode(e_b)
    # The rank of each place decides when it changes sides: a token that has changed stays.
    noise = torch.rand(grid_a.shape, generator=torch.Generator().manual_seed(seed))
    rank = noise.flatten(1).argsort(1).argsort(1).view_as(noise) / grid_a[0].numel()
    found: dict[str, list[Tensor]] = {name: [] for name in WAYS}
    for t in torch.linspace(0, 1, POINTS).tolist():
        found["vae"].append(continuous.decode(torch.lerp(z_a, z_b, t)))
        found["vectors"].append(discrete.decode(discrete.quantizer.encode(torch.lerp(e_a, e_b, t))))
        found["tokens"].append(discrete.decode(torch.where(rank < t, grid_b, grid_a)))
        found["pixels"].append(torch.lerp(x_a, x_b, t))
    return {name: torch.stack(images) for name, images in found.items()}


@torch.no_grad()
def measure(
    images: Tensor, classes: Tensor, judge: Classifier, neighbours: Tensor
) -> dict[str, float]:
    """The three figures of images (N, C, H, W) between the classes (N, 2)."""
    belief = judge(images).softmax(1)
    return {
        "confidence": belief.max(1).values.mean().item(),
        "elsewhere": (1 - belief.gather(1, classes).sum(1)).mean().item(),
        "distance": _to_nearest(images, neighbours).mean().item(),
    }


def _to_nearest(images: Tensor, neighbours: Tensor) -> Tensor:
    """(N,): the root mean square distance to the nearest of neighbours (M, P)."""
    x = images.flatten(1)
    squares = neighbours.square().sum(1) - 2 * x @ neighbours.T
    nearest = squares.min(1).values + x.square().sum(1)
    return (nearest.clamp_min(0) / x.shape[1]).sqrt()


def run(chosen: Options) -> tuple[dict[str, Any], dict[str, list[Tensor]]]:
    """Figures of every way and seed; and the pictures of the first seed, by way."""
    splits = Images(chosen.data, 28, channels=1).load()
    x_a, x_b, classes = ends(splits.test)
    numbers = choose_examples(splits.train, NEIGHBOURS, seed=0)
    neighbours = splits.train.__getitems__(numbers).x.flatten(1)
    rows: list[dict[str, Any]] = []
    shown: dict[str, Tensor] = {}
    judged = []
    for seed in range(chosen.seeds):
        judge = train_classifier(splits, max(chosen.budget // 2, 2), seed)
        x = splits.test.__getitems__(range(min(2000, len(splits.test))))
        judged.append(judge.accuracy([x]))
        continuous = vae(splits, chosen.budget, seed, LATENTS)
        discrete = vq_vae(splits, chosen.budget, seed, CODEBOOK)
        say(f"seed {seed}: trained")
        paths = ways(continuous, discrete, x_a, x_b, seed)
        shown = shown or paths
        real = measure(torch.cat([x_a, x_b]), classes.repeat(2, 1), judge, neighbours)
        rows.append({"way": "real", "t": None, "seed": seed, **real})
        for way, path in paths.items():
            for t, images in zip(torch.linspace(0, 1, POINTS).tolist(), path, strict=True):
                figures = measure(images, classes, judge, neighbours)
                rows.append({"way": way, "t": t, "seed": seed, **figures})
    record = {
        "rows": rows,
        "summary": _summaries(rows),
        "classifier_accuracy": summary(judged),
    }
    return record, {way: _strips(path, classes) for way, path in shown.items()}


def _strips(path: Tensor, classes: Tensor) -> list[Tensor]:
    """The first way of each pair of classes: images (H, W · POINTS)."""
    firsts = [(classes == torch.tensor(pair)).all(1).nonzero()[:1, 0] for pair in PAIRS]
    return [rearrange(path[:, i], "t 1 1 h w -> h (t w)") for i in firsts if len(i)]


def _summaries(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, float | None], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["way"], row["t"]), []).append(row)
    return [
        {"way": way, "t": t} | {name: summary([row[name] for row in group]) for name in MEASURES}
        for (way, t), group in groups.items()
    ]


def draw(record: dict[str, Any], pictures: dict[str, list[Tensor]]) -> Figure:
    """Above, a way of each kind for two pairs of classes; below, the measures along the ways."""
    figure = Figure(figsize=(13, 7), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[0.9, 1])[:, 0]
    _pictures(above, pictures)
    panels = below.subplots(1, len(MEASURES))
    for panel, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        for colour, (way, name) in enumerate(WAYS.items()):
            rows = [row for row in record["summary"] if row["way"] == way]
            panel.errorbar(
                [row["t"] for row in rows],
                [row[measure]["mean"] for row in rows],
                [row[measure]["sd"] or 0.0 for row in rows],
                color=f"C{colour}",
                marker="o",
                capsize=2,
                label=name,
            )
        (real,) = (row[measure]["mean"] for row in record["summary"] if row["way"] == "real")
        panel.axhline(real, color="black", linestyle=":", label="real test images")
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("t")
        panel.set_ylim(bottom=0)
    panels[0].legend(fontsize=8)
    return figure


def _pictures(figure: SubFigure, pictures: dict[str, list[Tensor]]) -> None:
    columns = min(2, len(pictures["vae"]))
    panels = figure.subplots(len(WAYS), columns, squeeze=False)
    for row, (way, name) in zip(panels, WAYS.items(), strict=True):
        for column, panel in enumerate(row):
            panel.imshow(pictures[way][column].numpy(), cmap="gray", vmin=-1, vmax=1)
            panel.set_xticks([])
            panel.set_yticks([])
        row[0].set_ylabel(name.replace(", ", ",\n"), fontsize=8)
    for panel, title in zip(panels[0], PAIR_NAMES[:columns], strict=True):
        panel.set_title(title, fontsize=10)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs, and writes JSON and figure."""
    chosen = options(__doc__, arguments, budget=STEPS)
    record, pictures = run(chosen)
    save(NAME, chosen, record, draw(record, pictures))


if __name__ == "__main__":
    main()
