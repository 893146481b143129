"""Sounds made by code: noise, and the syllables of a voice that PESQ takes for speech."""

import torch

__all__ = ["noise", "voice"]


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
