"""Bounds of the likelihood beside pythae's VAE, on Fashion-MNIST.

    pip install 'smalti[bench]'
    python benchmarks/vae_against_pythae.py --data FOLDER --out vae_against_pythae.json

The same networks with the same first weights, batches in the same order, optimizer and number of
updates, and the same seed for the noise; each library's own posterior, draws and loss. The
likelihood is the Bernoulli of grey values in [0, 1], pythae's "bce": both losses are the same
function. smalti measures both models on the same test images, and pythae's model is measured by
pythae's own code too: the loss of its forward pass, and `get_nll`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import torch
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import Tensor, nn

from smalti.autoencoders import VariationalAutoencoder
from smalti.data import Examples
from smalti.losses.likelihoods import Bernoulli
from smalti.modalities.image import Image, Images
from smalti.networks import ConvDecoder, ConvEncoder, Features, VectorDecoder, VectorEncoder
from smalti.training import ContinuousObjective
from smalti.training.batch_order import StepSampler
from smalti.training.cpu import speed_up_cpu

D, FEATURES, HIDDEN = 16, 16, 32
GRID, DIMS = (7, 7), 784


def networks(seed: int) -> tuple[VectorEncoder, VectorDecoder]:
    """Encoder and decoder, with the same weights each time."""
    torch.manual_seed(seed)
    encoder = VectorEncoder(ConvEncoder(Features(1), FEATURES, hidden=HIDDEN), GRID, 2 * D)
    decoder = VectorDecoder(ConvDecoder(Features(1), FEATURES, hidden=HIDDEN), GRID, D)
    return encoder, decoder


class Encoder(BaseEncoder):
    """smalti's encoder in pythae's clothes."""

    def __init__(self, network: VectorEncoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> ModelOutput:
        mean, log_variance = self.network(2 * x - 1).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """smalti's decoder in pythae's clothes."""

    def __init__(self, network: VectorDecoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.network(z).sigmoid())


def ours(seed: int) -> VariationalAutoencoder:
    """smalti's VAE."""
    encoder, decoder = networks(seed)
    return VariationalAutoencoder(encoder, decoder, Bernoulli(), Image(1, (28, 28)))


def theirs(seed: int) -> VAE:
    """pythae's VAE over the same networks."""
    encoder, decoder = networks(seed)
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=D, reconstruction_loss="bce")
    return VAE(config, encoder=Encoder(encoder), decoder=Decoder(decoder))


def as_ours(model: VAE) -> VariationalAutoencoder:
    """pythae's trained networks in smalti's VAE."""
    return VariationalAutoencoder(
        model.encoder.network, model.decoder.network, Bernoulli(), Image(1, (28, 28))
    )


def loss_of(model: nn.Module, x: Tensor) -> Tensor:
    """Each library's own negative ELBO, in nats per dimension."""
    if isinstance(model, VAE):
        return model({"data": (x + 1) / 2}).loss / DIMS
    return ContinuousObjective()(x, model(x), step=0)["loss"]


def fit(model: nn.Module, examples: Examples, batch: int, updates: int, seed: int) -> float:
    """Trains, and returns the images per second."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()
    torch.manual_seed(seed)
    start = time.perf_counter()
    for indices in itertools.islice(StepSampler(len(examples), batch, seed), updates):
        loss = loss_of(model, examples.__getitems__(indices).x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return batch * updates / (time.perf_counter() - start)


@torch.no_grad()
def bounds(model: VariationalAutoencoder, x: Tensor, few: Tensor, draws: int) -> dict[str, float]:
    """−ELBO and the importance-weighted bound of −log p(x), means over images, in nats."""
    model.eval()
    generator = torch.Generator().manual_seed(0)
    elbo = torch.cat([model.elbo(part, generator) for part in x.split(500)])
    weighted = torch.cat([model.log_likelihood(part, draws, generator) for part in few.split(500)])
    return {"negative_elbo": -elbo.mean().item(), "importance": -weighted.mean().item()}


@torch.no_grad()
def their_bounds(model: VAE, x: Tensor, few: Tensor, draws: int) -> dict[str, float]:
    """The same by pythae's own code."""
    model.eval()
    torch.manual_seed(0)
    losses = [model({"data": (part + 1) / 2}).loss * len(part) for part in x.split(500)]
    elbo = torch.stack(losses).sum().item() / len(x)
    weighted = float(model.get_nll((few + 1) / 2, n_samples=draws, batch_size=draws))
    return {"negative_elbo": elbo, "importance": -weighted}


def main() -> None:
    """Measures, prints a table and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--draws", type=int, default=50, help="for each image")
    parser.add_argument("--images", type=int, default=100, help="for the importance-weighted bound")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    speed_up_cpu()

    splits = Images(options.data, 28, channels=1).load()
    x = splits.test.__getitems__(range(min(2000, len(splits.test)))).x
    few = x[: options.images]
    rows = []
    for seed in range(options.seeds):
        for library, make in (("smalti", ours), ("pythae", theirs)):
            model = make(seed)
            speed = fit(model, splits.train, options.batch, options.updates, seed)
            measured = {"smalti": as_ours(model) if isinstance(model, VAE) else model}
            found = {"smalti": bounds(measured["smalti"], x, few, options.draws)}
            if isinstance(model, VAE):
                found["pythae"] = their_bounds(model, x, few, options.draws)
            for by, figures in found.items():
                rows.append({"library": library, "measured_by": by, "seed": seed, **figures})
                print(
                    f"seed {seed} {library}, measured by {by}: −ELBO "
                    f"{figures['negative_elbo']:.2f} nats, importance-weighted "
                    f"{figures['importance']:.2f} nats, {speed:.0f} images/s",
                    flush=True,
                )
    if options.out:
        settings = {key: value for key, value in vars(options).items() if key != "out"}
        options.out.write_text(json.dumps({"settings": settings, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
