"""Sounds made by code: noise, the syllables of a voice that PESQ takes for speech; a tiny codec."""

import torch

from smalti.autoencoders import DiscreteAutoencoder
from smalti.data import Splits, TensorExamples
from smalti.generation import Model
from smalti.modalities.audio import Sound
from smalti.networks import ConvDecoder, ConvEncoder
from smalti.priors import DepthPixelCNN
from smalti.quantizers import EMACodebook, ResidualQuantizer, VectorQuantizer

__all__ = ["K", "LENGTH", "RATE", "STAGES", "noise", "tiny_codec", "voice"]

RATE, LENGTH, K, STAGES = 8000, 4000, 16, 3


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def voice(seconds=2.0, rate=16000, pitch=120.0, seed=0):
    """Syllables of a voice: harmonics of a falling pitch, through two formants."""
    t = torch.arange(int(seconds * rate), dtype=torch.float64) / rate
    phase = 2 * torch.pi * (pitch * t - 10 * t**2)
    wave = sum(
        torch.cos(k * phase + k) / (1 + ((k * pitch - 600) / 300) ** 2 / 4) for k in range(1, 30)
    )
    rises = torch.sin(2 * torch.pi * 1.0 * t).clamp(min=0) ** 2
    return 0.5 * wave / wave.abs().max() * rises + 1e-4 * noise(len(t), seed=seed)


def tiny_codec(prior=True, stages=STAGES, length=LENGTH):
    """A tokenizer of residual stages whose first says most, untrained, and voices."""
    torch.manual_seed(0)
    x = torch.stack([voice(length / RATE, RATE, 90.0 + 8 * i, seed=i) for i in range(12)])[:, None]
    parts = [TensorExamples(part) for part in x.float().split((4, 2, 6))]
    signal = Sound(1, RATE, (length,))
    quantizers = [VectorQuantizer(EMACodebook(codebook_size=K, dim=4)) for _ in range(stages)]
    tokenizer = DiscreteAutoencoder(
        ConvEncoder(signal, 4, hidden=8, residual_hidden=4),
        ResidualQuantizer(quantizers) if stages > 1 else quantizers[0],
        ConvDecoder(signal, 4, hidden=8, residual_hidden=4),
        signal,
    ).eval()
    grid = (*tokenizer.grid, stages)
    made = DepthPixelCNN(K, grid, hidden=4, layers=1).eval() if prior else None
    return Model(tokenizer, made), Splits(*parts, signal=signal, condition=None, augment=None)
