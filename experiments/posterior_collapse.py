"""Posterior collapse: do latents survive beside a decoder that could do without them?

    python experiments/posterior_collapse.py --data /usr/share/datasets/fashion-mnist

The claim (van den Oord et al., 2017): a VAE whose decoder is a powerful autoregressive model learns
to ignore its latents, and a VQ-VAE with the same decoder does not.

Fashion-MNIST in 12×12 px and four grey levels. All models have the same convolutions, and all but
the first the same decoder, a PixelCNN over the pixels that sees what the latents say of each:

    independent pixels   VAE, each pixel on its own given z: a decoder that needs its latents
    beta 4, 1, 0.3, 0.1  VAE and beta-VAE with the PixelCNN
    free bits            VAE with the PixelCNN; half a bit of each latent dimension costs nothing
    VQ-VAE               with the PixelCNN, and a small PixelCNN prior over its tokens

Measured on test images: the KL, the active units, the mutual information of latents and images
(over N images, so at most log N); the perplexity of the code; nats that the decoder loses if it is
given the latents of another image instead, which is what it takes from them; bits per dimension of
the whole model (−ELBO, or prior plus reconstruction: both bound −log p(x) from above; four levels
known by nothing are 2 bits), and of the VAEs the tighter bound of 10 weighted draws; and whether a
classifier sees in a *drawn* reconstruction the class of the image that was encoded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from common import Options, fit, options, save, say, summary
from einops import rearrange
from matplotlib.figure import Figure, SubFigure
from torch import Tensor, nn

from smalti.autoencoders import DiscreteAutoencoder, VariationalAutoencoder
from smalti.autoencoders.variational import kl_to_normal
from smalti.data import Batch, Splits
from smalti.evaluation.classifier import train_classifier
from smalti.evaluation.measurements.codebook_usage import codeword_counts
from smalti.evaluation.measurements.rate import mean_nats
from smalti.evaluation.representation import (
    active_units,
    code_entropy_bound,
    code_information,
    gaussian_information,
)
from smalti.losses import MSE
from smalti.losses.likelihoods import (
    Categorical,
    Likelihood,
    PixelCNNLikelihood,
    bits_per_dim,
    from_integers,
    to_integers,
)
from smalti.modalities.base import Classifier
from smalti.modalities.image import Images
from smalti.networks import ConvDecoder, ConvEncoder, Features, VectorDecoder, VectorEncoder
from smalti.priors import PixelCNN
from smalti.quantizers import EMACodebook, VectorQuantizer, perplexity
from smalti.signals import Signal
from smalti.training import ContinuousObjective, TokenizerObjective

NAME = "posterior_collapse"
STEPS, BATCH = 550, 32
SIZE, LEVELS = 12, 4
LATENTS, DIM, CODEBOOK = 16, 16, 32
GRID = (3, 3)
TESTED, REDRAWN, SHOWN = 1000, 200, 8
WEIGHTED = 10  # draws of the importance-weighted bound
NETWORK = {"hidden": 32, "residual_blocks": 1, "residual_hidden": 16}


@dataclass(frozen=True)
class Case:
    """A model of the experiment; a VQ-VAE where there is no objective.

    Arguments:
        name: Of it.
        powerful: Whether the decoder is the PixelCNN.
        objective: Of a VAE.
    """

    name: str
    powerful: bool = True
    objective: ContinuousObjective | None = None


CASES = (
    Case("VAE, independent pixels", powerful=False, objective=ContinuousObjective()),
    Case("beta 4", objective=ContinuousObjective(beta=4.0)),
    Case("VAE", objective=ContinuousObjective()),
    Case("beta 0.3", objective=ContinuousObjective(beta=0.3)),
    Case("beta 0.1", objective=ContinuousObjective(beta=0.1)),
    Case("VAE, free bits", objective=ContinuousObjective(free_bits=0.5)),
    Case("VQ-VAE"),
)
MEASURES = {
    "information": "I(x; latents), nats (dotted: log N)",
    "gain": "nats the decoder takes from the latents",
    "bits": "bits per dimension",
    "kept": "class kept in a drawn reconstruction",
}
COLUMNS = (
    *MEASURES,
    "weighted_bits",
    "kl",
    "active_units",
    "information_bound",
    "perplexity",
    "reconstruction",
)


def build(case: Case, signal: Signal) -> VariationalAutoencoder | DiscreteAutoencoder:
    """The model of a case."""
    likelihood: Likelihood = Categorical(LEVELS)
    if case.powerful:
        likelihood = PixelCNNLikelihood(1, num_values=LEVELS, hidden=16, layers=3)
    encoder = ConvEncoder(Features(1), DIM, **NETWORK)
    decoder = ConvDecoder(Features(likelihood.channels(1)), DIM, **NETWORK)
    if case.objective is None:
        quantizer = VectorQuantizer(EMACodebook(codebook_size=CODEBOOK, dim=DIM))
        return DiscreteAutoencoder(encoder, quantizer, decoder, signal, likelihood)
    return VariationalAutoencoder(
        VectorEncoder(encoder, GRID, 2 * LATENTS),
        VectorDecoder(decoder, GRID, LATENTS),
        likelihood,
        signal,
    )


def coarse(x: Tensor) -> Tensor:
    """The values of x, each the nearest of the four levels."""
    return from_integers(to_integers(x, LEVELS), LEVELS)


def train(case: Case, splits: Splits, steps: int, seed: int) -> nn.Module:
    """The trained model of a case."""
    torch.manual_seed(seed)
    model = build(case, splits.signal)
    terms = TokenizerObjective(MSE())

    def loss(x: Tensor, step: int) -> Tensor:
        x = coarse(x)
        if isinstance(model, VariationalAutoencoder):
            assert case.objective is not None
            return case.objective(x, model(x), step)["loss"]
        return terms(x, model(x), step)["loss"]

    update = model.quantizer.update if isinstance(model, DiscreteAutoencoder) else None
    fit(model, loss, splits.train, steps=steps, seed=seed, after=update, batch_size=BATCH)
    return model


@torch.no_grad()
def of_vae(model: VariationalAutoencoder, x: Tensor, seed: int) -> dict[str, float]:
    """What is measured of a VAE on images x (N, 1, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    posterior = model.posterior(x)
    noise = torch.randn(posterior.mean.shape, generator=generator)
    z = posterior.mean + (posterior.log_variance / 2).exp() * noise
    right, wrong = (
        model.likelihood(model.decoder(latents), x).nll.mean().item()
        for latents in (z, z.roll(1, 0))
    )
    kl = kl_to_normal(posterior).sum(1).mean().item()
    weighted = model.log_likelihood(x, WEIGHTED, generator).mean().item()
    return {
        "information": gaussian_information(*posterior, samples=4, generator=generator),
        "gain": wrong - right,
        "bits": bits_per_dim(right + kl, model.dims),
        "weighted_bits": bits_per_dim(-weighted, model.dims),
        "kl": kl,
        "active_units": active_units(posterior.mean),
        "reconstruction": bits_per_dim(right, model.dims),
    }


def of_tokenizer(
    model: DiscreteAutoencoder, x: Tensor, splits: Splits, steps: int, seed: int
) -> dict[str, float]:
    """What is measured of a VQ-VAE; its prior is trained for it."""
    with torch.no_grad():
        indices = model.encode(x)
        right, wrong = (model.nll(x, i).mean().item() for i in (indices, indices.roll(1, 0)))
    prior = train_prior(model, splits, steps, seed)
    dims = x[0].numel()
    return {
        "information": code_information(indices),
        "information_bound": code_entropy_bound(indices),
        "gain": wrong - right,
        "bits": bits_per_dim(right + mean_nats(prior, indices), dims),
        "perplexity": perplexity(codeword_counts(indices, (CODEBOOK,))[0]),
        "reconstruction": bits_per_dim(right, dims),
    }


def train_prior(model: DiscreteAutoencoder, splits: Splits, steps: int, seed: int) -> PixelCNN:
    """A small prior over the tokens of training images."""
    torch.manual_seed(seed)
    prior = PixelCNN(CODEBOOK, GRID, hidden=16, layers=3)
    fit(
        prior,
        lambda x, step: prior.loss(model.encode(coarse(x))),
        splits.train,
        steps=steps,
        seed=seed + 1,
        batch_size=BATCH,
    )
    return prior


@torch.no_grad()
def redrawn(model: nn.Module, x: Tensor, seed: int) -> Tensor:
    """Reconstructions of x, drawn value by value where the decoder is autoregressive."""
    torch.manual_seed(seed)
    return model.decode(model.encode(x))  # type: ignore[operator]


def run(chosen: Options) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Figures of every case and seed; and images (SHOWN, 1, H, W) of the first seed."""
    splits = Images(chosen.data, SIZE, channels=1).load()
    x, labels = splits.test.__getitems__(range(min(TESTED, len(splits.test))))
    assert labels is not None
    x = coarse(x)
    rows: list[dict[str, Any]] = []
    shown, judged = {"images": x[:SHOWN]}, []
    for seed in range(chosen.seeds):
        judge = train_classifier(splits, max(chosen.budget // 2, 2), seed)
        judged.append(_accuracy(judge, x, labels))
        for case in CASES:
            model = train(case, splits, chosen.budget, seed).eval()
            if isinstance(model, VariationalAutoencoder):
                found = of_vae(model, x, seed)
            else:
                assert isinstance(model, DiscreteAutoencoder)
                found = of_tokenizer(model, x, splits, chosen.budget, seed)
            drawn = redrawn(model, x[:REDRAWN], seed)
            shown.setdefault(case.name, drawn[:SHOWN])
            kept = _accuracy(judge, drawn, labels[:REDRAWN])
            rows.append({"model": case.name, "seed": seed, **found, "kept": kept})
            say(f"{case.name}, seed {seed}: {found['bits']:.3f} bits/dim")
    return {
        "rows": rows,
        "summary": _summaries(rows),
        "classifier_accuracy": summary(judged),
        "log_n": math.log(len(x)),
    }, shown


def _accuracy(judge: Classifier, images: Tensor, labels: Tensor) -> float:
    return judge.accuracy([Batch(images, labels)])


def _summaries(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over the seeds of what each model has."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["model"], []).append(row)
    return [
        {"model": model} | {n: summary([row[n] for row in group]) for n in COLUMNS if n in group[0]}
        for model, group in groups.items()
    ]


def draw(record: dict[str, Any], shown: dict[str, Tensor]) -> Figure:
    """Bars of four measures, and the reconstructions that were drawn."""
    figure = Figure(figsize=(12.5, 6.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.4, 1], squeeze=False)[0]
    panels = left.subplots(2, 2, sharey=True).flat
    for panel, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        rows = record["summary"][::-1]
        names, values = [row["model"] for row in rows], [row[measure] for row in rows]
        means, deviations = ([value[what] or 0.0 for value in values] for what in ("mean", "sd"))
        colours = ["C1" if "VQ" in name else "C0" for name in names]
        panel.barh(names, means, xerr=deviations, color=colours, capsize=3)
        panel.set_title(title, fontsize=10)
        if measure == "information":
            panel.axvline(record["log_n"], color="black", linestyle=":")
    _pictures(right, shown)
    return figure


def _pictures(figure: SubFigure, shown: dict[str, Tensor]) -> None:
    """A column of panels a model, its images side by side."""
    for panel, (name, images) in zip(figure.subplots(len(shown), 1), shown.items(), strict=True):
        panel.imshow(rearrange(images, "n 1 h w -> h (n w)").numpy(), cmap="gray", vmin=-1, vmax=1)
        panel.set_axis_off()
        panel.set_title(name, fontsize=8, loc="left", pad=2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs, and writes JSON and figure."""
    chosen = options(__doc__, arguments, budget=STEPS)
    record, shown = run(chosen)
    save(NAME, chosen, record, draw(record, shown))


if __name__ == "__main__":
    main()
