"""Commitment: is VQ-VAE robust to beta, and does a warm-up of it help?

    python experiments/commitment.py --data /usr/share/datasets/fashion-mnist

The claim, of section 3.2 of the VQ-VAE paper (van den Oord et al., 2017, arXiv 1711.00937): "We
found the resulting algorithm to be quite robust to β, as the results did not vary for values of β
ranging from 0.1 to 2.0." A practice beside it: β rises from 0 over the first part of the training.

The same VQ-VAE learns Fashion-MNIST with β from 0.1 to 2.0, each at once and with a warm-up over
the first third of the steps, and with two codebooks: that of the paper, learned by gradient as its
equation 3 says and without any help; and the default of smalti, running means that start from
k-means, with dead codewords reset.

Measured on test images: MSE/variance, usage and perplexity. Robust is called what has, in the mean
over seeds, a worst β less than a tenth worse than its best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from common import Options, fit, options, save, say, summary
from matplotlib.figure import Figure
from torch import Tensor

from smalti.autoencoders import DiscreteAutoencoder
from smalti.losses import MSE
from smalti.modalities.image import Images
from smalti.networks import ConvDecoder, ConvEncoder
from smalti.quantizers import EMACodebook, GradientCodebook, VectorQuantizer, codebook_usage
from smalti.signals import Signal
from smalti.training import TokenizerObjective

NAME = "commitment"
STEPS = 800
BETAS = (0.1, 0.25, 0.5, 1.0, 2.0)
WARMUPS = {"at once": 0.0, "warm-up": 1 / 3}  # share of the steps
CODEBOOK, DIM = 64, 16
NETWORK = {"hidden": 16, "residual_blocks": 1, "residual_hidden": 8}
TESTED = 2000
ROBUST = 1.1  # the worst beta against the best
CODEBOOKS: dict[str, Callable[[], VectorQuantizer]] = {
    "gradient": lambda: VectorQuantizer(
        GradientCodebook(codebook_size=CODEBOOK, dim=DIM), dead_code_reset=None, kmeans_iterations=0
    ),
    "EMA, k-means, dead-code reset": lambda: VectorQuantizer(
        EMACodebook(codebook_size=CODEBOOK, dim=DIM)
    ),
}
MEASURES = {"error": "MSE/variance, test", "usage": "usage", "perplexity": "perplexity, of 64"}


def build(codebook: str, signal: Signal) -> DiscreteAutoencoder:
    """The VQ-VAE with one of the codebooks."""
    return DiscreteAutoencoder(
        ConvEncoder(signal, DIM, **NETWORK),
        CODEBOOKS[codebook](),
        ConvDecoder(signal, DIM, **NETWORK),
        signal,
    )


def measure(model: DiscreteAutoencoder, x: Tensor) -> dict[str, float]:
    """The figures of a trained model on images x (N, C, H, W)."""
    indices = torch.cat([model.encode(part) for part in x.split(250)])
    x_hat = torch.cat([model.decode(part) for part in indices.split(250)])
    used, effective = codebook_usage(indices, CODEBOOK)
    error = (x_hat - x).square().mean() / x.var()
    return {"error": error.item(), "usage": used, "perplexity": effective}


def run(chosen: Options) -> dict[str, Any]:
    """Trains and measures with every codebook, beta, warm-up and seed."""
    splits = Images(chosen.data, 28, channels=1).load()
    x = splits.test.first(TESTED).__getitems__(range(min(TESTED, len(splits.test)))).x
    rows = []
    for seed, codebook in product(range(chosen.seeds), CODEBOOKS):
        for (way, share), beta in product(WARMUPS.items(), BETAS):
            torch.manual_seed(seed)
            model = build(codebook, splits.signal)
            terms = TokenizerObjective(MSE(), beta, round(share * chosen.budget))

            def loss(
                x: Tensor,
                step: int,
                model: DiscreteAutoencoder = model,
                terms: TokenizerObjective = terms,
            ) -> Tensor:
                return terms(x, model(x), step)["loss"]

            fit(
                model,
                loss,
                splits.train,
                steps=chosen.budget,
                seed=seed,
                after=model.quantizer.update,
                batch_size=32,
            )
            case = {"codebook": codebook, "way": way, "beta": beta, "seed": seed}
            rows.append(case | measure(model, x))
            say(str(rows[-1]))
    found = summaries(rows)
    return {"rows": rows, "summary": found, "worst over best": ratios(found)} | {
        "findings": findings(found)
    }


def summaries(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over the seeds, for every codebook, way and beta."""
    groups: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["codebook"], row["way"], row["beta"]), []).append(row)
    return [
        {"codebook": codebook, "way": way, "beta": beta}
        | {name: summary([row[name] for row in group]) for name in MEASURES}
        for (codebook, way, beta), group in groups.items()
    ]


def ratios(found: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The error of the worst beta over that of the best, by codebook and way."""
    return {
        codebook: {way: _ratio(_errors(found, codebook, way)) for way in WARMUPS}
        for codebook in CODEBOOKS
    }


def _ratio(errors: Sequence[float]) -> float:
    return max(errors) / min(errors)


def _errors(found: Sequence[dict[str, Any]], codebook: str, way: str) -> list[float]:
    """Mean errors over beta."""
    return [
        row["error"]["mean"] for row in found if (row["codebook"], row["way"]) == (codebook, way)
    ]


def findings(found: Sequence[dict[str, Any]]) -> dict[str, bool]:
    """What the means say of each codebook."""
    said = {}
    for codebook, ways in ratios(found).items():
        said[f"{codebook}: robust to beta from 0.1 to 2.0"] = ways["at once"] < ROBUST
        pairs = zip(*(_errors(found, codebook, way) for way in WARMUPS), strict=True)
        said[f"{codebook}: the warm-up lowers the error at every beta"] = all(
            warm < at_once for at_once, warm in pairs
        )
    return said


def draw(record: dict[str, Any]) -> Figure:
    """The measures over beta."""
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    panels = figure.subplots(1, len(MEASURES))
    for axes, (name, title) in zip(panels, MEASURES.items(), strict=True):
        for colour, codebook in enumerate(CODEBOOKS):
            for way in WARMUPS:
                rows = [
                    row
                    for row in record["summary"]
                    if (row["codebook"], row["way"]) == (codebook, way)
                ]
                axes.errorbar(
                    [row["beta"] for row in rows],
                    [row[name]["mean"] for row in rows],
                    [row[name]["sd"] or 0 for row in rows],
                    color=f"C{colour}",
                    linestyle="-" if way == "at once" else "--",
                    marker="o" if way == "at once" else "s",
                    markersize=4,
                    capsize=2,
                    label=f"{codebook}, {way}",
                )
        axes.set_xscale("log")
        axes.set_xticks(BETAS, [f"{beta:g}" for beta in BETAS])
        axes.minorticks_off()
        axes.set_xlabel("beta")
        axes.set_ylabel(title)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs, and writes JSON and figure."""
    chosen = options(__doc__, arguments, budget=STEPS)
    record = run(chosen)
    save(NAME, chosen, record, draw(record))


if __name__ == "__main__":
    main()
