"""Reads the time from a picture of a clock by template matching.

A template T_{s,t} is a clock of style s rendered at time t, for all 720 minutes of the dial. A
picture x shows the time whose template is nearest to it in the sum of squares, in any style:

    t̂ = argmin_t min_s ‖x − T_{s,t}‖² = argmin_t min_s (‖T_{s,t}‖² − 2 ⟨x, T_{s,t}⟩)

Both have 32 px a side at most: that keeps the hands, and blurs away small differences of place and
angle. No model is asked and none is trained, and the styles are drawn from a generator of
their own, so this reader can judge a model that learned to draw clocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from einops import einsum, rearrange
from torch import Tensor
from torch.nn import functional as F

from smalti.conditions import TimeOfDay
from smalti.errors import InputError
from smalti.modalities.image.pixels import to_float
from smalti.synthetic.clocks import THEMES, ClockStyle, render_clock

__all__ = ["ClockReader", "minutes_apart"]

RESOLUTION = 32  # px
# Of the templates' styles; clocks to train on draw theirs from (seed, split, number).
SEED = 720_720
LUMA = (0.299, 0.587, 0.114)  # grey of red, green and blue (ITU-R BT.601), as Pillow has it


def minutes_apart(a: Tensor, b: Tensor) -> Tensor:
    """Computes the distance between times around the 12-hour dial, in minutes, from 0 to 360.

    Example:
        >>> minutes_apart(torch.tensor([5.0, 100.0]), torch.tensor([718.0, 90.0]))
        tensor([ 7., 10.])
    """
    ahead = (a - b) % TimeOfDay.dial
    return torch.minimum(ahead, TimeOfDay.dial - ahead)


class ClockReader:
    """Reads the time from pictures of clocks by template matching.

    It has templates of all themes of `Clocks`, also for clocks a few degrees askew or pixels off.

    Arguments:
        size: Height and width of the pictures, in px.
        styles: The styles of the templates; by default each theme as designed, and once slightly
            rotated and shifted.
    """

    def __init__(self, size: int, styles: Sequence[ClockStyle] | None = None) -> None:
        if styles is None:
            rng = np.random.default_rng(SEED)
            askew = [ClockStyle.random(rng, [theme]) for theme in THEMES]
            styles = [*map(ClockStyle, THEMES), *askew]
        self.size = size
        self._resolution = min(size, RESOLUTION)
        self._templates = torch.stack([_rendered(style, self._resolution) for style in styles])

    def read(self, images: Tensor) -> Tensor:
        """Returns the times (B,), float32, in minutes, that images (B, C, H, W) in [-1, 1] show.

        Raises:
            InputError: If the images do not have the reader's size, or neither 1 nor 3 channels.
        """
        square = images.shape[2:] == (self.size, self.size)
        if images.ndim != 4 or images.shape[1] not in (1, 3) or not square:
            raise InputError(
                f"The reader takes images of the shape (B, 1 or 3, {self.size}, {self.size}), "
                f"got {tuple(images.shape)}: resize them, or make a reader of that size."
            )
        x = F.adaptive_avg_pool2d(images.float().clamp(-1, 1), self._resolution)
        nearest = [self._distances(x, template).min(dim=1) for template in self._templates]
        style = torch.stack([distance for distance, _ in nearest]).argmin(dim=0)
        time = torch.stack([minutes for _, minutes in nearest])
        return time.gather(0, style[None])[0].float()

    def _distances(self, x: Tensor, template: Tensor) -> Tensor:
        """Returns ‖x − T‖² − ‖x‖², (B, 720), for clocks T of one style, (720, 3, H, W), uint8."""
        t = to_float(template).to(x.device)
        if x.shape[1] == 1:
            t = einsum(t, t.new_tensor(LUMA), "t c h w, c -> t h w")[:, None]
        x, t = rearrange(x, "b c h w -> b (c h w)"), rearrange(t, "t c h w -> t (c h w)")
        return t.square().sum(dim=1) - 2 * x @ t.T


@lru_cache(maxsize=2 * len(THEMES))  # those of a reader serve the next one
def _rendered(style: ClockStyle, size: int) -> Tensor:
    """Clocks of one style at all times: (720, 3, size, size), uint8."""
    clocks = [np.asarray(render_clock(t, style, size)) for t in range(TimeOfDay.dial)]
    return rearrange(torch.from_numpy(np.stack(clocks)), "t h w c -> t c h w")
