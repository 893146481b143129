"""A vector quantizer inside a plain PyTorch loop: no trainer, no configuration, no Lightning.

    python examples/quantizer_in_your_loop.py

Takes about five seconds on one core. A small autoencoder learns to pass pictures of a bright spot
on a dark ground through 4×4 integers of 64 values each. The loss must fall, and the codebook come
into full use.
"""

import torch
from torch import nn

from smalti.quantizers import EMACodebook, VectorQuantizer, codebook_usage

SIZE, DIM, BETA = 64, 16, 0.25


def spots(n: int) -> torch.Tensor:
    """Pictures (n, 1, 16, 16) in [-1, 1] of a spot of random place, width and brightness."""
    x, y, width, brightness = torch.rand(4, n, 1, 1)
    axis = torch.linspace(0, 1, 16)
    squared = (axis[None, None, :] - x) ** 2 + (axis[None, :, None] - y) ** 2
    return (2 * (0.3 + 0.7 * brightness) * torch.exp(-squared / (0.02 + 0.1 * width)) - 1)[:, None]


def main() -> tuple[list[float], float, float]:
    """Trains; gives the losses printed on the way, and MSE/variance and usage on new pictures."""
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, DIM, 4, stride=2, padding=1),
    )
    decoder = nn.Sequential(
        nn.ConvTranspose2d(DIM, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
    )
    quantizer = VectorQuantizer(EMACodebook(codebook_size=SIZE, dim=DIM))
    model = nn.ModuleList([encoder, quantizer, decoder])
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    quantizer.attach(optimizer)  # after each of its steps the codebook learns, too

    history = []
    for step in range(401):
        x = spots(64)
        z = encoder(x).movedim(1, -1)  # (B, D, 4, 4) to (B, 4, 4, D): the vector goes last
        quantized, _, losses = quantizer(z)
        x_hat = decoder(quantized.movedim(-1, 1))
        reconstruction = (x_hat - x).square().mean()
        loss = reconstruction + BETA * losses["commitment"]

        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            history.append(loss.item())
            print(f"step {step:3d}  loss {loss.item():.4f}")

    model.eval()
    with torch.no_grad():
        x = spots(1000)
        indices = quantizer.encode(encoder(x).movedim(1, -1))  # (1000, 4, 4), int64
        x_hat = decoder(quantizer.decode(indices).movedim(-1, 1))
    error = ((x_hat - x).square().mean() / x.var()).item()
    usage, perplexity = codebook_usage(indices, SIZE)
    print(f"held out: MSE/variance {error:.4f}, usage {usage:.0%}, perplexity {perplexity:.1f}")
    return history, error, usage


if __name__ == "__main__":
    main()
