"""Representations: are discrete latents useful for other tasks than reconstruction?

    python experiments/representations.py --data /usr/share/datasets/fashion-mnist

The claim: tokens that were learned without labels keep what matters in an image, so that a simple
classifier does well on them.

A VQ-VAE learns Fashion-MNIST without its labels, 7×7 tokens of K 64 and D 16. Then two classifiers
that learn next to nothing themselves, a linear probe and the vote of 5 nearest neighbours, are
fitted to 4,000 training images and measured on 2,000 test images, each time seen as

    pixels      the 784 values
    z_e         what the encoder gives, before quantization, 784 values
    z_q         the codewords, 784 values
    histogram   how often each of the 64 codewords occurs, wherever in the image
    VAE         the 16 means of a VAE with the same convolutions
    random z_e  what the VQ-VAE's encoder gives before any training, to see what learning added
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from common import Options, options, save, say, summary
from matplotlib.figure import Figure
from models import CODEBOOK, vae, vq_vae
from torch import Tensor
from torch.nn import functional as F

from smalti.autoencoders import DiscreteAutoencoder
from smalti.evaluation.batches import choose_examples
from smalti.evaluation.representation import knn_accuracy, linear_probe
from smalti.modalities.image import Images

NAME = "representations"
STEPS = 1000
FITTED, TESTED = 4000, 2000
PROBE_STEPS = 60
TASKS = {"probe": "linear probe", "knn": "5 nearest neighbours"}
SEEN = ("pixels", "z_e", "z_q", "histogram", "VAE", "random z_e")


@torch.no_grad()
def features(model: DiscreteAutoencoder, x: Tensor) -> dict[str, Tensor]:
    """Images x (N, C, H, W) as rows of what the model makes of them."""
    z_e = torch.cat([model.encoder(part) for part in x.split(250)])
    indices = model.quantizer.encode(z_e.movedim(1, -1))
    one_hot = F.one_hot(indices.flatten(1), CODEBOOK)
    return {
        "z_e": z_e.flatten(1),
        "z_q": model.quantizer.decode(indices).flatten(1),
        "histogram": one_hot.float().mean(1),
    }


def measure(train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor) -> dict[str, float]:
    """The accuracies of both classifiers on rows of features."""
    return {
        "probe": linear_probe(train, labels, test, test_labels, decay=1e-3, steps=PROBE_STEPS),
        "knn": knn_accuracy(train, labels, test, test_labels),
    }


def run(chosen: Options) -> dict[str, Any]:
    """Accuracies on every representation with every seed; pixels have no seed."""
    splits = Images(chosen.data, 28, channels=1).load()
    x, labels = splits.train.__getitems__(choose_examples(splits.train, FITTED, seed=0))
    test, test_labels = splits.test.__getitems__(choose_examples(splits.test, TESTED, seed=0))
    assert labels is not None and test_labels is not None
    pixels = measure(x.flatten(1), labels, test.flatten(1), test_labels)
    rows: list[dict[str, Any]] = []
    for seed in range(chosen.seeds):
        learned = vq_vae(splits, chosen.budget, seed)
        continuous = vae(splits, chosen.budget, seed)
        torch.manual_seed(seed)
        untrained = _untrained(learned)
        found, of_test = features(learned, x), features(learned, test)
        for part, of_part in (x, found), (test, of_test):
            of_part["VAE"] = torch.cat([continuous.encode(some) for some in part.split(250)])
            of_part["random z_e"] = features(untrained, part)["z_e"]
        rows.append({"seed": seed, "seen": "pixels", **pixels})
        for seen in SEEN[1:]:
            figures = measure(found[seen], labels, of_test[seen], test_labels)
            rows.append({"seed": seed, "seen": seen, **figures})
            say(str(rows[-1]))
    return {"rows": rows, "summary": summaries(rows), "findings": findings(rows)}


def _untrained(model: DiscreteAutoencoder) -> DiscreteAutoencoder:
    """The same network with new first weights."""
    fresh = copy.deepcopy(model)
    for module in fresh.encoder.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.reset_parameters()
    return fresh


def summaries(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean and standard deviation over the seeds, by representation."""
    return {
        seen: {task: summary([row[task] for row in rows if row["seen"] == seen]) for task in TASKS}
        for seen in SEEN
    }


def findings(rows: Sequence[dict[str, Any]]) -> dict[str, bool]:
    """What holds with every seed."""
    at = {(row["seen"], row["seed"]): row for row in rows}
    seeds = sorted({row["seed"] for row in rows})

    def better(task: str, one: str, other: str) -> bool:
        return all(at[one, seed][task] > at[other, seed][task] for seed in seeds)

    return {
        "the probe does better on z_q than on pixels": better("probe", "z_q", "pixels"),
        "the neighbours do better on z_q than on pixels": better("knn", "z_q", "pixels"),
        "the probe does better on z_e than on an untrained encoder": better(
            "probe", "z_e", "random z_e"
        ),
        "the neighbours do better on z_e than on an untrained encoder": better(
            "knn", "z_e", "random z_e"
        ),
        "the probe does better on z_q than on the VAE's latents": better("probe", "z_q", "VAE"),
        "the neighbours do better on z_q than on the VAE's latents": better("knn", "z_q", "VAE"),
        "quantization costs the probe less than two points": all(
            at["z_e", seed]["probe"] - at["z_q", seed]["probe"] < 0.02 for seed in seeds
        ),
        "quantization costs the neighbours less than two points": all(
            at["z_e", seed]["knn"] - at["z_q", seed]["knn"] < 0.02 for seed in seeds
        ),
        "where the tokens are matters: the histogram is worse than z_q in both": all(
            better(task, "z_q", "histogram") for task in TASKS
        ),
    }


def draw(record: dict[str, Any]) -> Figure:
    """Both accuracies of every representation."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, (task, title) in zip(
        figure.subplots(1, len(TASKS), sharey=True), TASKS.items(), strict=True
    ):
        for place, seen in enumerate(SEEN):
            value = record["summary"][seen][task]
            deviation = value["sd"] or 0
            axes.barh(place, value["mean"], xerr=deviation, color=f"C{place}", capsize=3)
            axes.annotate(
                f"{100 * value['mean']:.1f} %",
                (value["mean"] + deviation, place),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        axes.set_yticks(range(len(SEEN)), SEEN)
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"test accuracy, {title}")
        axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs, and writes JSON and figure."""
    chosen = options(__doc__, arguments, budget=STEPS)
    record = run(chosen)
    save(NAME, chosen, record, draw(record))


if __name__ == "__main__":
    main()
