"""A VQ-VAE, a prior over its tokens, and new pictures: all of it in one file, from top to bottom.

    python examples/vq_vae_in_one_file.py                         # draws its own data
    python examples/vq_vae_in_one_file.py --data pictures.npy     # yours: (N, H, W, C), bytes
    python examples/vq_vae_in_one_file.py --steps 3000 --prior_steps 3000   # better

Needs torch, numpy, pillow and `pip install smalti`. Takes four minutes of one core. It writes
`samples.png`: test pictures, their reconstructions, then new pictures, a row for each label.

The arithmetic of the defaults: pictures of 32×32 in 3 colours are 3,072 bytes, 24,576 bits. Four
times smaller along each side they are 8×8 = 64 tokens out of 256, 512 bits: 48 times fewer.

    x ─ encoder ─▶ z_e ─ quantizer ─▶ indices ─ prior ─▶ new indices ─ decoder ─▶ new x
                            └─▶ z_q ─ decoder ─▶ x_hat

References:
    Neural Discrete Representation Learning (van den Oord et al., 2017), arXiv 1711.00937.
    Language Models are Unsupervised Multitask Learners (Radford et al., 2019), the prior.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.nn import ResidualStack
from smalti.priors import sample_from_logits
from smalti.quantizers import EMACodebook, VectorQuantizer, codebook_usage


@dataclass
class Options:
    """Everything that can be chosen; each is an option of the command line, too."""

    data: str = ""  # a .npy of pictures (N, H, W, C), bytes; empty: circles, squares, triangles
    out: str = "samples.png"
    # the tokenizer
    codebook_size: int = 256  # K
    dim: int = 32  # D, dimension of a codeword
    hidden: int = 64  # channels inside the networks
    beta: float = 0.25  # weight of the commitment loss
    steps: int = 1000
    batch_size: int = 32
    lr: float = 2e-3
    # the prior
    width: int = 128
    layers: int = 3
    heads: int = 4
    dropout: float = 0.1
    prior_steps: int = 1500
    prior_batch: int = 32
    prior_lr: float = 2e-3
    # sampling
    per_label: int = 8
    temperature: float = 1.0
    top_p: float = 0.95
    seed: int = 0


# ---- data ----------------------------------------------------------------------------------------


def draw_shapes(n: int, side: int = 32) -> tuple[Tensor, Tensor]:
    """Draws circles (0), squares (1) and triangles (2), each in one of six colours.

    Returns:
        Pictures (n, 3, side, side) in [-1, 1], and labels (n,), int64.
    """
    labels = torch.arange(n) % 3
    radius = (0.2 + 0.2 * torch.rand(n))[:, None, None]
    x0, y0 = (radius[:, 0, 0] + (1 - 2 * radius[:, 0, 0]) * torch.rand(2, n))[:, :, None, None]
    axis = (torch.arange(side) + 0.5) / side
    x, y = axis[None, None, :] - x0, axis[None, :, None] - y0  # (n, side, side) by broadcasting
    circle = x**2 + y**2 < radius**2
    square = (x.abs() < 0.8 * radius) & (y.abs() < 0.8 * radius)
    triangle = (y < 0.7 * radius) & (1.9 * x.abs() < y + 1.1 * radius)
    inside = torch.stack([circle, square, triangle])[labels, torch.arange(n)]  # (n, side, side)
    colours = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]])
    light = 1.6 * colours[torch.randint(6, (n,))].float()[:, :, None, None] - 0.6
    return torch.where(inside[:, None], light, torch.tensor(-0.9)), labels


def load_pictures(path: str) -> tuple[Tensor, Tensor]:
    """Reads pictures (N, H, W, C) of bytes: (N, C, H, W) in [-1, 1]; all have the label 0."""
    array = np.load(path)
    if array.ndim != 4 or array.dtype != np.uint8 or array.shape[1] % 4 or array.shape[2] % 4:
        raise SystemExit(
            f"{path} should hold bytes (N, H, W, C) with H and W multiples of 4, got "
            f"{array.dtype} {array.shape}: convert and crop them first."
        )
    x = torch.from_numpy(array).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x, torch.zeros(len(x), dtype=torch.int64)


def batches(*tensors: Tensor, size: int, steps: int) -> Iterator[tuple[Tensor, ...]]:
    """Random batches of tensors of one length, as many as there are steps."""
    for _ in range(steps):
        chosen = torch.randint(len(tensors[0]), (size,))
        yield tuple(tensor[chosen] for tensor in tensors)


# ---- tokenizer -----------------------------------------------------------------------------------


class Tokenizer(nn.Module):
    """The VQ-VAE: pictures (B, C, H, W) to grids of indices (B, H/4, W/4), and back."""

    def __init__(self, channels: int, options: Options) -> None:
        super().__init__()
        hidden, dim = options.hidden, options.dim
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, hidden // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden // 2, hidden, 4, stride=2, padding=1),
            ResidualStack(hidden, hidden // 2, blocks=2),
            nn.Conv2d(hidden, dim, 1),
        )
        # EMA codebook: k-means start, and dead codewords are reset, without being asked for.
        self.quantizer = VectorQuantizer(EMACodebook(codebook_size=options.codebook_size, dim=dim))
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, hidden, 3, padding=1),
            ResidualStack(hidden, hidden // 2, blocks=2),
            nn.ConvTranspose2d(hidden, hidden // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(hidden // 2, channels, 4, stride=2, padding=1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """x (B, C, H, W) → x_hat, indices (B, h, w), the losses of the quantizer."""
        z_e = self.encoder(x).movedim(1, -1)  # (B, h, w, D): quantizers act on the last dimension
        z_q, indices, losses = self.quantizer(z_e)
        return self.decoder(z_q.movedim(-1, 1)), indices, losses

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) → indices (B, h, w)."""
        return torch.cat([self(piece)[1] for piece in x.split(256)])

    @torch.no_grad()
    def decode(self, indices: Tensor) -> Tensor:
        """Indices (B, h, w) → pictures (B, C, H, W) in [-1, 1]."""
        return self.decoder(self.quantizer.decode(indices).movedim(-1, 1)).clamp(-1, 1)


def train_tokenizer(x: Tensor, options: Options) -> Tokenizer:
    """Minimises mse(x_hat, x) + beta · commitment; the codebook learns by its own averages."""
    tokenizer = Tokenizer(x.shape[1], options)
    optimizer = torch.optim.Adam(tokenizer.parameters(), lr=options.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    start = time.perf_counter()
    for step, (batch,) in enumerate(batches(x, size=options.batch_size, steps=options.steps), 1):
        x_hat, _, losses = tokenizer(batch)
        reconstruction = F.mse_loss(x_hat, batch)
        loss = reconstruction + options.beta * losses["commitment"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        tokenizer.quantizer.update()  # EMA, k-means start, reset of dead codewords
        if step % 100 == 0 or step == options.steps:
            share = reconstruction.item() / batch.var().item()
            print(f"tokenizer {step:5d}  mse/variance {share:.4f}  {_rate(step, start)}")
    return tokenizer.eval()


# ---- prior ---------------------------------------------------------------------------------------


class Block(nn.Module):
    """Causal self-attention, then a small network for each position."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        width = options.width
        self.heads, self.dropout = options.heads, options.dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(options.dropout),
        )

    def forward(self, h: Tensor) -> Tensor:
        """h (B, T, width) → the same shape; position t sees positions up to t."""
        batch, length, width = h.shape
        qkv = self.qkv(self.norm1(h)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, T, width / heads) each
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        h = h + self.out(seen.transpose(1, 2).reshape(batch, length, width))
        return h + self.mlp(self.norm2(h))


class Prior(nn.Module):
    """A transformer over the tokens in reading order: Π_t p(q_t | q_1 … q_{t−1}, label)."""

    def __init__(self, length: int, labels: int, options: Options) -> None:
        super().__init__()
        size, width = options.codebook_size, options.width
        self.length = length
        self.start = nn.Embedding(labels, width)  # what stands before the first token: the label
        self.token = nn.Embedding(size, width)
        self.place = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.Sequential(*(Block(options) for _ in range(options.layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, size)

    def forward(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Tokens (B, t) so far, t < T, labels (B,) → logits (B, t + 1, K) of each next one."""
        h = torch.cat([self.start(labels)[:, None], self.token(tokens)], dim=1)  # (B, t+1, width)
        return self.head(self.norm(self.blocks(h + self.place[: h.shape[1]])))

    def loss(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """−log p of tokens (B, T), in nats per index."""
        logits = self(tokens[:, :-1], labels)  # (B, T, K)
        return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())

    @torch.no_grad()
    def sample(self, labels: Tensor, options: Options) -> Tensor:
        """Draws tokens (B, T) for labels (B,), one position after another."""
        tokens = labels.new_empty(len(labels), 0)
        for _ in range(self.length):
            logits = self(tokens, labels)[:, -1]  # (B, K)
            drawn = sample_from_logits(logits, temperature=options.temperature, top_p=options.top_p)
            tokens = torch.cat([tokens, drawn[:, None]], dim=1)
        return tokens


def train_prior(tokens: Tensor, labels: Tensor, held_out: int, options: Options) -> Prior:
    """Minimises −log p; the last `held_out` grids say how well it does on new ones."""
    prior = Prior(tokens.shape[1], int(labels.max()) + 1, options)
    optimizer = torch.optim.AdamW(prior.parameters(), lr=options.prior_lr, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.prior_steps)
    seen = tokens[:-held_out], labels[:-held_out]
    start = time.perf_counter()
    stream = batches(*seen, size=options.prior_batch, steps=options.prior_steps)
    for step, (batch, given) in enumerate(stream, 1):
        loss = prior.loss(batch, given)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == options.prior_steps:
            with torch.no_grad():
                new = prior.eval().loss(tokens[-held_out:], labels[-held_out:]).item()
            prior.train()
            print(
                f"prior {step:5d}  nats per index {loss.item():.3f}, held out {new:.3f} "
                f"(uniform {math.log(options.codebook_size):.3f})  {_rate(step, start)}"
            )
    return prior.eval()


# ---- all of it -----------------------------------------------------------------------------------


def main(options: Options) -> dict[str, float]:
    """Trains both, writes the picture, and returns what was measured on held-out pictures."""
    torch.manual_seed(options.seed)
    x, labels = load_pictures(options.data) if options.data else draw_shapes(6000)
    order = torch.randperm(len(x))
    x, labels = x[order], labels[order]
    held_out = max(min(len(x) // 10, 500), options.per_label)

    tokenizer = train_tokenizer(x[:-held_out], options)
    grids = tokenizer.encode(x)  # (N, h, w), of all pictures once
    x_hat = tokenizer.decode(grids[-held_out:])
    share = ((x_hat - x[-held_out:]) ** 2).mean() / x[-held_out:].var()
    usage, _ = codebook_usage(grids, options.codebook_size)

    prior = train_prior(grids.flatten(1), labels, held_out, options)
    asked = torch.arange(int(labels.max()) + 1).repeat_interleave(options.per_label)
    drawn = prior.sample(asked, options).view(-1, *grids.shape[1:])
    shown = [x[-options.per_label :], x_hat[-options.per_label :], tokenizer.decode(drawn)]
    save(torch.cat(shown), options.per_label, options.out)
    with torch.no_grad():
        nats = prior.loss(grids[-held_out:].flatten(1), labels[-held_out:]).item()
    figures = {"mse_over_variance": share.item(), "usage": usage, "nats_per_index": nats}
    print(", ".join(f"{name} {value:.4f}" for name, value in figures.items()), "→", options.out)
    return figures


def save(x: Tensor, columns: int, path: str) -> None:
    """Writes pictures (B, C, H, W) as one sheet, three times as large."""
    x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
    rows = [torch.cat(list(row), dim=2) for row in x.split(columns)]  # (C, H, columns · W) each
    sheet = ((torch.cat(rows, dim=1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(sheet.repeat(3, 0).repeat(3, 1)).save(path)


def _rate(step: int, start: float) -> str:
    return f"{step / (time.perf_counter() - start):.1f} steps/s"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in vars(Options()).items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"({default})")
    main(Options(**vars(parser.parse_args())))
