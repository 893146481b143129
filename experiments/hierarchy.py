"""Hierarchy at equal bits: are two levels of tokens worth more than one?

    python experiments/hierarchy.py --data /usr/share/datasets/fashion-mnist

The claim, of VQ-VAE-2 (Razavi et al., 2019, arXiv 1906.00446): a coarse level for what is large and
a fine level for details model images better than a single level.

Four models learn Fashion-MNIST at 32 px, all with 448 bits per image and 4 px per fine token:

    one level             8×8 tokens of K 128                          64 · 7 = 448
    two, coarse strong    4×4 tokens of K 256, 8×8 tokens of K 32      16 · 8 + 64 · 5 = 448
    two, fine strong      4×4 tokens of K 16, 8×8 tokens of K 64       16 · 4 + 64 · 6 = 448
    level dropout         the second once more; a tenth of the time its fine level is left out

The hierarchies are trained as in the paper, which decodes all levels only; the last one, which is
how `HierarchicalAutoencoder` is trained by default, can be decoded from its coarse level alone.

Then a PixelCNN learns the tokens of each level, that of the fine level given the coarse one. All
trainings have the same number of steps; two levels have two priors, and more weights in encoder and
decoder, too. Measured on test images: MSE/variance, and −log p of all tokens of an image under the
priors, in bits: what an ideal coder would spend in place of the 448. For a fair verdict on the rate
the distortion must be looked at beside it: tokens that say less are cheaper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from common import Options, fit, options, save, say, summary
from matplotlib.figure import Figure
from models import pixelcnn, vq_vae, vq_vae_2
from torch import Tensor

from smalti.autoencoders import DiscreteAutoencoder, HierarchicalAutoencoder
from smalti.autoencoders.tokenizer import Tokenizer
from smalti.conditions import CoarseTokens
from smalti.data import Splits
from smalti.evaluation.batches import choose_examples
from smalti.evaluation.measurements.rate import mean_nats
from smalti.modalities.image import Images
from smalti.priors import PixelCNN
from smalti.training import Tokens

NAME = "hierarchy"
STEPS = 500
BITS = 448  # an image, of every model
CACHED, TESTED, SHOWN = 8000, 1000, 10
LEVEL_DROPOUT = 0.1
MEASURES = {
    "error": "MSE/variance, test",
    "bits": "bits per image under the priors",
    "share": "share of the 448 bits",
}


class Model(NamedTuple):
    """The sizes of the codebooks, coarse to fine, and how often the fine level is left out."""

    codebooks: tuple[int, ...]
    level_dropout: float = 0.0


MODELS = {
    "one level": Model((128,)),
    "two, coarse strong": Model((256, 32)),
    "two, fine strong": Model((16, 64)),
    "two, coarse strong, level dropout": Model((256, 32), LEVEL_DROPOUT),
}


def build(
    splits: Splits, wanted: Model, steps: int, seed: int
) -> DiscreteAutoencoder | HierarchicalAutoencoder:
    """A trained model of one level or two."""
    if len(wanted.codebooks) == 1:
        return vq_vae(splits, steps, seed, wanted.codebooks[0])
    coarse, fine = wanted.codebooks
    return vq_vae_2(splits, steps, seed, (coarse, fine), wanted.level_dropout)


def encoded(model: Tokenizer, x: Tensor) -> tuple[Tensor, ...]:
    """The grids of images x, coarse to fine."""
    return model.layout.unpack(torch.cat([model.encode_flat(part) for part in x.split(250)]))


def bits_of_coarse(
    grids: tuple[Tensor, ...], test: tuple[Tensor, ...], codebook: int, steps: int, seed: int
) -> float:
    """Bits per image of the first level under a PixelCNN."""
    prior = pixelcnn(grids[0], steps, seed, codebook)
    return mean_nats(prior, test[0]) / math.log(2)


def bits_of_fine(
    grids: tuple[Tensor, ...],
    test: tuple[Tensor, ...],
    codebooks: tuple[int, ...],
    steps: int,
    seed: int,
) -> float:
    """Bits per image of the second level under a PixelCNN that is given the first."""
    coarse, fine = grids
    above = CoarseTokens(codebooks[:1], [tuple(coarse.shape[1:])])
    torch.manual_seed(seed)
    prior = PixelCNN(codebooks[1], tuple(fine.shape[1:]), above, hidden=32, layers=4)
    positions = coarse[0].numel()
    joined = torch.cat([coarse.flatten(1), fine.flatten(1)], 1)

    def loss(row: Tensor, step: int) -> Tensor:
        given, wanted = row[:, :positions], row[:, positions:]
        return prior.loss(wanted.unflatten(1, prior.grid), given.to(above.dtype))

    fit(prior, loss, Tokens(joined), steps=steps, seed=seed)
    return mean_nats(prior, test[1], above.pack(test[:1])) / math.log(2)


def run(chosen: Options) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Figures of every model and seed, and reconstructions of the first seed."""
    splits = Images(chosen.data, 32, channels=1).load()
    x = splits.test.__getitems__(choose_examples(splits.test, TESTED, seed=0)).x
    cached = splits.train.__getitems__(choose_examples(splits.train, CACHED, seed=0)).x
    rows: list[dict[str, Any]] = []
    shown = {"test images": x[:SHOWN]}
    for seed in range(chosen.seeds):
        for name, wanted in MODELS.items():
            model, codebooks = build(splits, wanted, chosen.budget, seed), wanted.codebooks
            training, test = encoded(model, cached), encoded(model, x)
            levels = [bits_of_coarse(training, test, codebooks[0], chosen.budget, seed)]
            if len(codebooks) > 1:
                levels.append(bits_of_fine(training, test, codebooks, chosen.budget, seed))
            x_hat = _decoded(model, test)
            rows.append(
                {
                    "seed": seed,
                    "model": name,
                    "error": ((x_hat - x).square().mean() / x.var()).item(),
                    "bits": sum(levels),
                    "share": sum(levels) / BITS,
                    "bits of levels": levels,
                }
            )
            say(str(rows[-1]))
            if seed == 0:
                shown[name] = x_hat[:SHOWN]
                if wanted.level_dropout:
                    shown[f"{name}: coarse level alone"] = _decoded(model, test[:1])[:SHOWN]
    return {"rows": rows, "summary": summaries(rows), "findings": findings(rows)}, shown


def _decoded(
    model: DiscreteAutoencoder | HierarchicalAutoencoder, grids: tuple[Tensor, ...]
) -> Tensor:
    if isinstance(model, DiscreteAutoencoder):
        return torch.cat([model.decode(part) for part in grids[0].split(250)])
    parts = zip(*(grid.split(250) for grid in grids), strict=True)
    return torch.cat([model.decode(part) for part in parts])


def summaries(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean and standard deviation over the seeds, by model."""
    return {
        model: {
            name: summary([row[name] for row in rows if row["model"] == model]) for name in MEASURES
        }
        for model in MODELS
    }


def findings(rows: Sequence[dict[str, Any]]) -> dict[str, bool]:
    """What holds with every seed."""
    found: dict[str, list[dict[str, Any]]] = {
        name: [row for row in rows if row["model"] == name] for name in MODELS
    }
    one, *others = found.values()

    def beaten(figure: str, other: list[dict[str, Any]]) -> bool:
        return all(a[figure] < b[figure] for a, b in zip(other, one, strict=True))

    return {
        "every hierarchy has less distortion than one level": all(
            beaten("error", other) for other in others
        ),
        "a hierarchy has less distortion than one level": any(
            beaten("error", other) for other in others
        ),
        "every hierarchy costs fewer bits under its priors": all(
            beaten("bits", other) for other in others
        ),
        "a hierarchy is better in both": any(
            beaten("error", other) and beaten("bits", other) for other in others
        ),
    }


def draw(record: dict[str, Any], shown: dict[str, Tensor]) -> Figure:
    """Distortion over rate, every seed a point, and reconstructions."""
    figure = Figure(figsize=(13, 4.8), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.25], squeeze=False)[0]
    axes = left.subplots()
    for colour, model in enumerate(MODELS):
        rows = [row for row in record["rows"] if row["model"] == model]
        at = record["summary"][model]
        axes.scatter(
            [row["bits"] for row in rows], [row["error"] for row in rows], s=14, color=f"C{colour}"
        )
        axes.errorbar(
            at["bits"]["mean"],
            at["error"]["mean"],
            xerr=at["bits"]["sd"],
            yerr=at["error"]["sd"],
            color=f"C{colour}",
            marker="D",
            capsize=3,
            label=model,
        )
    axes.set_xlabel(f"{MEASURES['bits']} (of {BITS})")
    axes.set_ylabel(MEASURES["error"])
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    left.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    for panel, (name, images) in zip(right.subplots(len(shown), 1), shown.items(), strict=True):
        panel.imshow(torch.cat(list(images[:, 0]), 1).numpy(), cmap="gray", vmin=-1, vmax=1)
        panel.set_axis_off()
        panel.set_title(name, fontsize=8, loc="left", pad=2)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs, and writes JSON and figure."""
    chosen = options(__doc__, arguments, budget=STEPS)
    record, shown = run(chosen)
    save(NAME, chosen, record, draw(record, shown))


if __name__ == "__main__":
    main()
