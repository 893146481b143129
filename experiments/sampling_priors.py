"""Sampling from priors: what a prior must know before what it draws looks like the data.

    python experiments/sampling_priors.py --data /usr/share/datasets/fashion-mnist

The claim: to generate with a VQ-VAE one needs a learned prior. Indices drawn uniformly decode to
noise, and the histogram of the training grids only gives back what was seen.

A VQ-VAE learns Fashion-MNIST, 7×7 tokens of K 64; its tokens are then drawn in three ways:

    uniform       every index equally likely
    histogram     the empirical distribution over the first n training grids, n from 10 on
    prior         a PixelCNN over all training grids that were cached

Measured of each: −log p of test grids in nats per index (of the histogram, mixed with the uniform
distribution in the proportion of Good and Turing, since a grid it has not seen has probability 0);
the Fréchet distance of 2,000 samples to test images in the features of a classifier that has seen
only real images; and novelty, the share of positions in which a sample differs from the nearest
training grid, beside that of test grids. Noise is novel, too: novelty means something only where
the distance is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from common import Options, options, save, say, summary
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from models import CODEBOOK, pixelcnn, vq_vae
from torch import Tensor

from smalti.autoencoders import DiscreteAutoencoder
from smalti.evaluation.batches import batches, choose_examples
from smalti.evaluation.classifier import train_classifier
from smalti.evaluation.measurements.frechet import (
    FeatureGaussian,
    classifier_features,
    fit_gaussian,
    frechet_distance,
)
from smalti.evaluation.measurements.rate import mean_nats
from smalti.modalities.base import Classifier
from smalti.modalities.image import Images
from smalti.priors import Histogram, TractablePrior, Uniform

NAME = "sampling_priors"
STEPS = 700
CACHED = 20_000  # training grids
SIZES = (10, 100, 1000, CACHED)  # of histograms
MEASURED = 2000  # test images, and samples of each prior
SHOWN = 8
MEASURES = {
    "nats": "−log p of test grids, nats per index",
    "frechet": "Fréchet distance to test images",
    "novelty": "novelty: share of positions unlike\nthose of the nearest training grid",
}


def priors(grids: Tensor, steps: int, seed: int) -> dict[str, TractablePrior]:
    """Every way to draw, by name, from the training grids (N, H, W)."""
    shape = tuple(grids.shape[1:])
    found: dict[str, TractablePrior] = {"uniform": Uniform(CODEBOOK, shape)}
    for size in (size for size in SIZES if size <= max(len(grids), SIZES[0])):
        histogram = Histogram(CODEBOOK, shape)
        histogram.fit(grids[:size])
        found[f"histogram {len(grids[:size])}"] = histogram
    return found | {"prior": pixelcnn(grids, steps, seed)}


def novelty(grids: Tensor, training: Tensor) -> float:
    """The mean share of positions in which grids (N, …) differ from the nearest in training."""
    nearest = [
        (row != training.flatten(1)).sum(1).min() for row in grids.flatten(1).to(training.dtype)
    ]
    return torch.stack(nearest).double().mean().item() / grids[0].numel()


def measure(
    prior: TractablePrior,
    model: DiscreteAutoencoder,
    training: Tensor,
    test: Tensor,
    seen: tuple[Classifier, FeatureGaussian],
    seed: int,
) -> tuple[dict[str, float], Tensor]:
    """The figures of one prior, and images (SHOWN, C, H, W) of it."""
    classifier, reference = seen
    generator = torch.Generator().manual_seed(seed)
    grids = prior.sample(len(test), generator=generator)
    images = [model.decode(part) for part in grids.split(250)]
    of_samples = fit_gaussian(classifier_features(classifier, images))
    figures = {
        "nats": mean_nats(prior, test) / test[0].numel(),
        "frechet": frechet_distance(of_samples, reference),
        "novelty": novelty(grids[:500], training),
    }
    return figures, images[0][:SHOWN]


def run(chosen: Options) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Figures of every prior and seed, and images of the first seed."""
    splits = Images(chosen.data, 28, channels=1).load()
    tested = choose_examples(splits.test, MEASURED, seed=0)
    x = splits.test.__getitems__(tested).x
    rows: list[dict[str, Any]] = []
    shown = {"test images": x[:SHOWN]}
    # One classifier for all seeds, so that their distances can be compared.
    classifier = train_classifier(splits, chosen.budget, seed=0)
    seen = (classifier, fit_gaussian(classifier_features(classifier, x.split(250))))
    for seed in range(chosen.seeds):
        model = vq_vae(splits, chosen.budget, seed)
        cached = choose_examples(splits.train, CACHED, seed=0)
        # Not in the order of the data set, so that the first n are any n.
        cached = [cached[i] for i in torch.randperm(len(cached), generator=_generator(0)).tolist()]
        training = torch.cat([model.encode(b.x) for b in batches(splits.train, cached, 500)])
        training = training.to(torch.int16)
        test = model.encode(x)
        reconstructions = [model.decode(part) for part in test.split(250)]
        references = {
            "seed": seed,
            "prior": "reconstructions",
            "frechet": frechet_distance(
                fit_gaussian(classifier_features(classifier, reconstructions)), seen[1]
            ),
            "novelty": novelty(test[:500], training),
        }
        rows.append(references)
        for name, prior in priors(training, chosen.budget, seed).items():
            figures, images = measure(prior, model, training, test, seen, seed)
            rows.append({"seed": seed, "prior": name, **figures})
            say(f"seed {seed}: {name}: {figures}")
            if seed == 0:
                shown[name] = images
        if seed == 0:
            shown["reconstructions"] = reconstructions[0][:SHOWN]
    return {"rows": rows, "summary": summaries(rows), "findings": findings(rows)}, shown


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def summaries(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean and standard deviation over the seeds, by prior."""
    return {
        prior: {
            name: summary([row[name] for row in rows if row["prior"] == prior])
            for name in MEASURES
            if all(name in row for row in rows if row["prior"] == prior)
        }
        for prior in dict.fromkeys(row["prior"] for row in rows)
    }


def findings(rows: Sequence[dict[str, Any]]) -> dict[str, bool]:
    """What holds with every seed."""
    by_prior = {(row["prior"], row["seed"]): row for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    histograms = [name for name in dict.fromkeys(r["prior"] for r in rows) if "histogram" in name]

    def all_seeds(figure: str, less: str, more: str, factor: float = 1.0) -> bool:
        return all(by_prior[less, s][figure] < factor * by_prior[more, s][figure] for s in seeds)

    return {
        "uniform indices are farther from the data than any other prior": all(
            all_seeds("frechet", other, "uniform") for other in [*histograms, "prior"]
        ),
        "the prior's likelihood is the highest": all(
            all_seeds("nats", "prior", other) for other in [*histograms, "uniform"]
        ),
        "the largest histogram draws nearer to the data than the prior": all_seeds(
            "frechet", histograms[-1], "prior"
        ),
        "the largest histogram knows test grids less than 1 % better than uniform": not all_seeds(
            "nats", histograms[-1], "uniform", factor=0.99
        ),
        "the histogram draws nothing new": all(
            by_prior[histograms[-1], s]["novelty"] == 0 for s in seeds
        ),
        "the prior's samples are at least nine tenths as novel as test grids": all(
            by_prior["prior", s]["novelty"] > 0.9 * by_prior["reconstructions", s]["novelty"]
            for s in seeds
        ),
    }


def draw(record: dict[str, Any], shown: dict[str, Tensor]) -> Figure:
    """Bars of the measures, and samples of every prior."""
    figure = Figure(figsize=(13.5, 5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[2.6, 1], squeeze=False)[0]
    names = [name for name in record["summary"] if name != "reconstructions"] + ["reconstructions"]
    labels = [f"{name} (test)" if name == "reconstructions" else name for name in names]
    for axes, (measure_name, title) in zip(
        left.subplots(1, len(MEASURES), sharey=True), MEASURES.items(), strict=True
    ):
        _bars(axes, [record["summary"][name].get(measure_name) for name in names])
        axes.set_xlabel(title, fontsize=9)
        axes.set_yticks(range(len(names)), labels)
        axes.spines[["top", "right"]].set_visible(False)
    order = [name for name in ["test images", "reconstructions", *names[:-1]] if name in shown]
    for axes, name in zip(right.subplots(len(order), 1), order, strict=True):
        axes.imshow(torch.cat(list(shown[name][:, 0]), dim=1).numpy(), cmap="gray", vmin=-1, vmax=1)
        axes.set_axis_off()
        axes.set_title(name, fontsize=8, loc="left", pad=2)
    return figure


def _bars(axes: Axes, values: Sequence[dict[str, Any] | None]) -> None:
    for place, value in enumerate(values):
        if value is not None:
            axes.barh(place, value["mean"], xerr=value["sd"], color=f"C{place}", capsize=3)
            axes.annotate(
                f"{value['mean']:.3g}",
                (value["mean"] + (value["sd"] or 0), place),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    axes.invert_yaxis()
    axes.margins(x=0.18)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs, and writes JSON and figure."""
    chosen = options(__doc__, arguments, budget=STEPS)
    record, shown = run(chosen)
    save(NAME, chosen, record, draw(record, shown))


if __name__ == "__main__":
    main()
