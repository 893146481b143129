"""Reads generated clocks, and compares the times with those that were requested.

    time t ─▶ prior(tokens | t) ─▶ decoder ─▶ picture ─▶ reader ─▶ t̂

and t̂ is right if |t̂ − t| ≤ 5 minutes on the dial.

The times are every 5 minutes of 12 hours, 144 in all, one picture each. The reader matches
templates of rendered clocks; it took no part in training. How often it reads real test clocks
right says how far it can be trusted, and reconstructions of those show what the tokenizer alone
loses. A clock drawn at a random time is right with probability 11/720.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.conditions import TimeOfDay
from smalti.synthetic.clock_reader import ClockReader, minutes_apart

__all__ = ["STEP", "TOLERANCE", "requested_times", "add_frames", "minutes_off", "within_tolerance"]

STEP = 5  # minutes between two requested times
TOLERANCE = 5  # minutes: how far off a clock may be read to count as right


def requested_times() -> Tensor:
    """Returns the 144 times that the prior is asked to draw, every 5 minutes: (144,)."""
    return torch.arange(0, TimeOfDay.dial, STEP).float()


def minutes_off(reader: ClockReader, images: Iterable[Tensor], times: Tensor) -> Tensor:
    """Computes the error of each clock: minutes between the time read and the true one, (N,).

    Arguments:
        reader: A reader of clocks of this size.
        images: Batches (B, C, H, W) in [-1, 1].
        times: (N,) in minutes.
    """
    read = torch.cat([reader.read(batch.cpu()) for batch in images])
    return minutes_apart(read, times.cpu()).float()


def within_tolerance(off: Tensor) -> Tensor:
    """Returns which clocks count as correct: those at most 5 minutes off, (N,), bool.

    Arguments:
        off: (N,), the error of each clock in minutes, as `minutes_off` measures it.
    """
    return off <= TOLERANCE


def add_frames(images: Tensor, marked: Tensor, width: int = 2) -> Tensor:
    """Adds a red frame to marked images, and a transparent one of the same width to the others.

    Arguments:
        images: (B, 1 or 3, H, W) in [-1, 1].
        marked: (B,) bool.
        width: Width of the frame, in pixels.

    Returns:
        (B, 4, H + 2 · width, W + 2 · width): colour and opacity, for `pictures.grid`.
    """
    colour = images.expand(-1, 3, -1, -1)
    opaque = torch.cat([colour, torch.ones_like(colour[:, :1])], dim=1)
    room = (width,) * 4
    inside = F.pad(torch.ones_like(opaque[:, :1]), room).bool()
    red = opaque.new_tensor([0.75, -0.5, -0.5, 1.0])[:, None, None]
    clear = opaque.new_tensor([0.0, 0.0, 0.0, -1.0])[:, None, None]
    frame = torch.where(marked.to(images.device)[:, None, None, None], red, clear)
    return torch.where(inside, F.pad(opaque, room), frame)
