"""Disentanglement: does a larger beta give each latent dimension one factor of the data?

    python experiments/disentanglement.py

The claim (Higgins et al., 2017): the pressure of beta times the KL towards a factorised prior makes
single latent dimensions stand for single factors of the data, at the price of the reconstruction.

An autoencoder and VAEs of several beta learn two data sets whose factors are known: a grid of
factors (shape, size, x, y, colour; all combinations) and clocks (hour, minute in steps of five,
theme; nothing else varies). All have the same fully connected networks, which learn more in the
same time than convolutions on pictures as small as these. Nothing sees a factor in training.

Measured: MIG and DCI on draws from q(z | x) of training pictures, so that a collapsed dimension is
the noise that the decoder sees, and the squared error of the reconstructions of test pictures
over their variance.

The likelihood is Gaussian with σ = 0.1 and values in [-1, 1]; beta = b with this σ is beta = 1 with
σ = 0.1 √b, so the numbers belong to this σ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from common import Options, fit, options, save, say, summary
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from smalti.autoencoders import (
    ContinuousAutoencoder,
    PlainAutoencoder,
    VariationalAutoencoder,
)
from smalti.data import FactorizedSource, Splits
from smalti.evaluation.batches import choose_examples
from smalti.evaluation.representation import active_units, dci, mutual_information_gap
from smalti.losses.likelihoods import Gaussian
from smalti.signals import Signal
from smalti.synthetic import Clocks, FactorGrid
from smalti.training import ContinuousObjective

NAME = "disentanglement"
STEPS = 5000
MEASURED = 4000  # training pictures
BETAS = (1.0, 4.0, 16.0, 64.0)
DIM, HIDDEN, SIGMA = 10, 128, 0.1
MEASURES = {
    "mig": "MIG",
    "disentanglement": "DCI: disentanglement",
    "completeness": "DCI: completeness",
    "informativeness": "DCI: informativeness",
    "error": "test error / variance",
}


class Sources(NamedTuple):
    """The data sets, and for each factor how many of its values are taken as one."""

    grid: tuple[FactorizedSource, tuple[int, ...]]
    clocks: tuple[FactorizedSource, tuple[int, ...]]


class Encoder(nn.Sequential):
    """x (B, C, *size) → (B, dim)."""

    downsampling = 1

    def __init__(self, pixels: int, dim: int) -> None:
        super().__init__(nn.Flatten(), *_layers(pixels, HIDDEN, HIDDEN, dim))


class Decoder(nn.Sequential):
    """z (B, dim) → (B, C, *size)."""

    def __init__(self, shape: tuple[int, ...], dim: int) -> None:
        super().__init__(*_layers(dim, HIDDEN, HIDDEN, math.prod(shape)), nn.Unflatten(1, shape))
        self.dim = dim


def _layers(*widths: int) -> list[nn.Module]:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for wide, narrow in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return layers[:-1]


def sources(pictures: int) -> Sources:
    """Pictures of 16 px in colour and of 32 px in grey."""
    clocks = Clocks(32, 1, length=pictures, themes=4, jitter=0, validation=1, test=500)
    return Sources(grid=(FactorGrid(16), (1, 1, 1, 1, 1)), clocks=(clocks, (1, 5, 1)))


def build(beta: float | None, signal: Signal) -> ContinuousAutoencoder:
    """An autoencoder where there is no beta, else a VAE."""
    shape = (signal.channels, *signal.size)
    decoder = Decoder(shape, DIM)
    if beta is None:
        return PlainAutoencoder(Encoder(math.prod(shape), DIM), decoder, signal)
    encoder = Encoder(math.prod(shape), 2 * DIM)
    return VariationalAutoencoder(encoder, decoder, Gaussian(SIGMA), signal)


def train(beta: float | None, splits: Splits, steps: int, seed: int) -> ContinuousAutoencoder:
    """The trained model of one beta."""
    torch.manual_seed(seed)
    model, objective = build(beta, splits.signal), ContinuousObjective(beta or 0.0)

    def loss(x: Tensor, step: int) -> Tensor:
        return objective(x, model(x), step)["loss"]

    fit(model, loss, splits.train, steps=steps, seed=seed, rate=4e-3)
    return model


@torch.no_grad()
def latents(model: ContinuousAutoencoder, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Draws (N, D), and their means (N, D)."""
    if not isinstance(model, VariationalAutoencoder):
        z = model.encode(x)
        return z, z
    mean, log_variance = model.posterior(x)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))
    return mean + (log_variance / 2).exp() * noise, mean


def measure(
    model: ContinuousAutoencoder, splits: Splits, values: Tensor, chosen: list[int], seed: int
) -> dict[str, float]:
    """All figures of one trained model."""
    x = splits.train.__getitems__(chosen).x
    z, mean = latents(model, x, seed)
    found = dci(z, values)
    x_test = splits.test.__getitems__(range(len(splits.test))).x
    error = (model.decode(model.encode(x_test)) - x_test).square().mean()
    return {
        "mig": mutual_information_gap(z, values),
        "disentanglement": found.disentanglement,
        "completeness": found.completeness,
        "informativeness": found.informativeness,
        "error": (error / x_test.var()).item(),
        "active_units": active_units(mean),
    }


def run(chosen: Options) -> dict[str, Any]:
    """Trains and measures every model on every data set with every seed."""
    rows = []
    pictures = 5000 if chosen.budget > 100 else 300
    for data, (source, merged) in sources(pictures)._asdict().items():
        splits = source.load()
        measured = choose_examples(splits.train, MEASURED, seed=0)
        values = source.values("train", measured) // torch.tensor(merged)
        for beta in (None, *BETAS):
            for seed in range(chosen.seeds):
                model = train(beta, splits, chosen.budget, seed)
                figures = measure(model, splits, values, measured, seed)
                rows.append({"data": data, "beta": beta, "seed": seed, **figures})
                say(f"{data}, beta {beta}, seed {seed}: MIG {figures['mig']:.3f}")
    return {"rows": rows, "summary": _summaries(rows)}


def _summaries(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over the seeds."""
    groups: dict[tuple[str, float | None], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["data"], row["beta"]), []).append(row)
    return [
        {"data": data, "beta": beta}
        | {name: summary([row[name] for row in group]) for name in (*MEASURES, "active_units")}
        for (data, beta), group in groups.items()
    ]


def draw(record: dict[str, Any]) -> Figure:
    """A row of panels a data set, one a measure, over beta."""
    data = list(dict.fromkeys(row["data"] for row in record["summary"]))
    figure = Figure(figsize=(3.1 * len(MEASURES), 3.0 * len(data)), layout="constrained")
    axes = figure.subplots(len(data), len(MEASURES), squeeze=False)
    for panels, name in zip(axes, data, strict=True):
        rows = [row for row in record["summary"] if row["data"] == name]
        for panel, (measure, title) in zip(panels, MEASURES.items(), strict=True):
            _panel(panel, rows, measure)
            panel.set_title(f"{name}: {title}", fontsize=10)
    axes[0, 0].legend(fontsize=8)
    return figure


def _panel(panel: Axes, rows: list[dict[str, Any]], measure: str) -> None:
    (plain,) = (row[measure] for row in rows if row["beta"] is None)
    betas = [row["beta"] for row in rows if row["beta"] is not None]
    means, deviations = (
        [row[measure][what] or 0.0 for row in rows if row["beta"] is not None]
        for what in ("mean", "sd")
    )
    panel.errorbar(betas, means, deviations, marker="o", capsize=3, color="C0", label="VAE")
    panel.axhline(plain["mean"], color="C1", label="autoencoder")
    sd = plain["sd"] or 0.0
    panel.axhspan(plain["mean"] - sd, plain["mean"] + sd, color="C1", alpha=0.2, linewidth=0)
    panel.set_xscale("log")
    panel.set_xticks(betas, [f"{beta:g}" for beta in betas])
    panel.minorticks_off()
    panel.set_xlabel("beta")
    panel.set_ylim(bottom=min(0.0, *(m - 1.1 * d for m, d in zip(means, deviations, strict=True))))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs, and writes JSON and figure."""
    chosen = options(__doc__, arguments, budget=STEPS, data="")
    record = run(chosen)
    save(NAME, chosen, record, draw(record))


if __name__ == "__main__":
    main()
