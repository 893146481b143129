"""Synthetic pictures of shapes, in every combination of five factors (as dSprites).

A picture shows a shape of a given size, place and colour on a dark ground, and nothing else: five
factors, whose values are all combined,

    shape × size × x × y × colour      by default 3 · 4 · 8 · 8 · 6 = 4608 pictures

So the factors are independent and evenly spread, and what a model made of each can be measured
without doubt: a turn of the shape, which would leave a disc as it was, is no factor. The pictures
are drawn `OVERSAMPLING` times as large and averaged down, as clocks are. Which combinations are
held out for validation and test is a function of the seed alone.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageDraw
from torch import Tensor

from smalti.conditions import Label
from smalti.counting import counted
from smalti.data import SplitFractions
from smalti.data.progress import progress
from smalti.data.source import Examples, FactorizedSource, SplitName, Splits
from smalti.errors import InputError
from smalti.modalities.image.pixels import Pixels
from smalti.modalities.image.signal import Image as ImageSignal

__all__ = ["SHAPES", "FactorGrid", "render_shape"]

OVERSAMPLING = 4
SHAPES = ("square", "disc", "triangle")
GROUND = 25  # of 255: dark, but no border of what can be said
SMALLEST, LARGEST = 0.08, 0.20  # half of the side, as shares of the picture


def render_shape(
    shape: str,
    half: float,
    centre: tuple[float, float],
    colour: tuple[int, int, int],
    size: int,
) -> Image.Image:
    """Draws the picture of one shape on a dark ground.

    Arguments:
        shape: One of `SHAPES`.
        half: Half of its height and width, as a share of the picture.
        centre: (right, down), as shares of the picture.
        colour: Red, green and blue, from 0 to 255.
        size: Height and width of the picture, in px.

    Example:
        >>> picture = render_shape("disc", 0.2, (0.75, 0.5), (255, 0, 0), 32)
        >>> picture.getpixel((24, 16)), picture.getpixel((8, 16))
        ((255, 0, 0), (25, 25, 25))
    """
    fine = OVERSAMPLING * size
    image = Image.new("RGB", (fine, fine), (GROUND,) * 3)
    draw = ImageDraw.Draw(image)
    x, y, r = (fine * centre[0] - 0.5, fine * centre[1] - 0.5, fine * half)
    if shape == "square":
        draw.rectangle((x - r, y - r, x + r, y + r), fill=colour)
    elif shape == "disc":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    else:
        draw.polygon([(x, y - r), (x + r, y + r), (x - r, y + r)], fill=colour)
    return image.reduce(OVERSAMPLING)


class FactorGrid(FactorizedSource):
    """The source of pictures of shapes, one for every combination of five factors (as dSprites).

    The factors are shape, size, x, y and colour; the label is the shape.

    Arguments:
        size: Height and width of a picture, in px.
        channels: 3 for colour, whose values are hues; 1 for grey, whose values are shades.
        sizes: The number of values of the size.
        positions: The number of values of x, and of y.
        colours: The number of values of the colour.
        held_out: The shares of combinations that are held out of the training pictures.

    Raises:
        InputError: If a number is out of its range.

    Example:
        >>> grid = FactorGrid(sizes=2, positions=3)
        >>> splits = grid.load()
        >>> splits.condition.format(splits.test.conditions[0]), len(splits.train)
        ('square', 276)
        >>> dict(zip(grid.factors, grid.values("test", [0])[0].tolist()))
        {'shape': 0, 'size': 1, 'x': 1, 'y': 1, 'colour': 2}
    """

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        sizes: int = 4,
        positions: int = 8,
        colours: int = 6,
        held_out: SplitFractions = SplitFractions(),  # noqa: B008 (frozen)
    ) -> None:
        if channels not in (1, 3):
            raise InputError(f"Shapes have 1 channel (grey) or 3 (colour), got {channels}.")
        for what, value, low, high in (
            ("The size of pictures", size, 16, 1024),
            ("The number of sizes", sizes, 2, 16),
            ("The number of positions", positions, 2, 64),
            ("The number of colours", colours, 2, 32),
        ):
            if not low <= value <= high:
                raise InputError(
                    f"{what} is from {low} to {high}, got {value}: choose one in this range."
                )
        self.size, self.channels, self.held_out = size, channels, held_out
        self._sizes = (len(SHAPES), sizes, positions, positions, colours)

    @property
    def factors(self) -> dict[str, int]:
        return dict(zip(("shape", "size", "x", "y", "colour"), self._sizes, strict=True))

    def values(self, split: SplitName, indices: Sequence[int]) -> Tensor:
        rows = self._rows()[split][torch.as_tensor(indices, dtype=torch.int64)]
        return torch.stack(torch.unravel_index(rows, self._sizes), dim=-1)

    def load(self) -> Splits:
        n, condition = math.prod(self._sizes), Label(list(SHAPES))
        values = torch.cartesian_prod(*map(torch.arange, self._sizes))
        drawn = [self._draw(*row) for row in progress(values.tolist(), n, "drawing shapes")]
        pixels = rearrange(torch.from_numpy(np.stack(drawn)), "n h w c -> n c h w").contiguous()
        examples = Pixels(pixels, values[:, 0].to(condition.dtype))
        rows = self._rows()
        return Splits(
            train=examples.take(rows["train"]),
            validation=examples.take(rows["validation"]),
            test=examples.take(rows["test"]),
            signal=ImageSignal(self.channels, (self.size, self.size)),
            condition=condition,
            augment=None,
        )

    def examples(self, split: SplitName) -> Examples:
        examples: Examples = getattr(self.load(), split)
        return examples

    def _rows(self) -> dict[SplitName, Tensor]:
        """Returns which of all combinations, in the order of their values, each split has."""
        n = math.prod(self._sizes)
        generator = torch.Generator().manual_seed(self.held_out.seed)
        order = torch.randperm(n, generator=generator)
        test, validation = (
            max(1, round(share * n)) for share in (self.held_out.test, self.held_out.validation)
        )
        if test + validation >= n:
            raise InputError(
                f"Held out are {test} and {validation} of {counted(n, 'picture')}, which leaves "
                "none to "
                f"train on: lower the shares."
            )
        return {
            "test": order[:test],
            "validation": order[test : test + validation],
            "train": order[test + validation :],
        }

    def _draw(self, shape: int, size: int, x: int, y: int, colour: int) -> np.ndarray:
        """Draws the picture of these values, (H, W, C), uint8."""
        _, sizes, positions, _, colours = self._sizes
        half = SMALLEST + (LARGEST - SMALLEST) * size / (sizes - 1)
        # Of the largest shape, too, a margin is left to the border.
        low, high = LARGEST + 0.02, 0.98 - LARGEST
        centre = (
            low + (high - low) * x / (positions - 1),
            low + (high - low) * y / (positions - 1),
        )
        picture = render_shape(
            SHAPES[shape], half, centre, self._colour(colour, colours), self.size
        )
        mode = "L" if self.channels == 1 else "RGB"
        return np.asarray(picture.convert(mode)).reshape(self.size, self.size, self.channels)

    def _colour(self, value: int, values: int) -> tuple[int, int, int]:
        if self.channels == 1:
            grey = round(90 + 165 * value / (values - 1))
            return (grey, grey, grey)
        red, green, blue = colorsys.hsv_to_rgb(value / values, 0.85, 1.0)
        return (round(255 * red), round(255 * green), round(255 * blue))
