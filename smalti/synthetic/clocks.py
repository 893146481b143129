"""Synthetic pictures of analog clocks, labelled with the time they show.

On a dial that takes 12 hours, t minutes turn the hands clockwise from the top by

    θ_hour = 2π t / 720,    θ_minute = 2π t / 60.

So a picture of 12·60 times has one condition that matters, many details that do not (colours, ring,
marks, shape of the hands), and a right answer to "does this show ten past ten?" that anybody can
see. The hour hand is short and thick, the minute hand long and thin, down to 32 px.

Everything is drawn `OVERSAMPLING` times as large and averaged down, which smooths the edges.
Example number i of a split is a function of (seed, split, i) alone: endless clocks never repeat,
and a set of n clocks is the first n of the endless ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageDraw
from torch import Tensor

from smalti.conditions import TimeOfDay
from smalti.data.progress import progress
from smalti.data.source import Batch, Examples, FactorizedSource, SplitName, Splits
from smalti.errors import InputError
from smalti.memory import check_memory
from smalti.modalities.image.pixels import Pixels, to_float
from smalti.modalities.image.signal import Image as ImageSignal
from smalti.ranges import Range

__all__ = ["THEMES", "ClockStyle", "Clocks", "Theme", "render_clock"]

OVERSAMPLING = 4
TIME = TimeOfDay()


@dataclass(frozen=True)
class Theme:
    """The design of a clock: its colours and shapes.

    Arguments:
        name: A word for it.
        rim: Width of the rim, as a share of the radius.
        background: Colour around the clock.
        ring: Colour of the rim.
        face: Colour of the dial.
        ticks: Colour of the marks on the dial.
        hands: Colour of both hands; far from the colour of the dial, in grey too.
        cap: Colour of the pivot.
        marks: The marks of the hours: `"bars"`, `"dots"`, `"quarters"` or `"minutes"`.
        shape: Shape of the hands: `"bar"`, `"round"`, `"taper"` or `"leaf"`.
    """

    name: str
    rim: float
    background: str
    ring: str
    face: str
    ticks: str
    hands: str
    cap: str
    marks: str
    shape: str


def _themes(table: str) -> tuple[Theme, ...]:
    """Reads themes from a table, one per line below the header, with their arguments in order."""
    rows = (line.split() for line in table.strip().splitlines()[1:])
    return tuple(Theme(name, float(rim), *look) for name, rim, *look in rows)


THEMES = _themes("""
    name       rim   background  ring     face     ticks    hands    cap      marks     shape
    porcelain  0.08  #E6DFD3     #2F3E46  #FFFFFF  #52646E  #1B262C  #D1495B  bars      bar
    midnight   0.06  #C9A24B     #E9CF8B  #15223F  #E9CF8B  #FBF3DC  #C9A24B  quarters  leaf
    mint       0.10  #BFE5D2     #2A9D8F  #F6FFFA  #2A9D8F  #12453D  #F4A261  dots      round
    coral      0.07  #F7C9B6     #E76F51  #FFF8F2  #E76F51  #5B2333  #E76F51  minutes   taper
    slate      0.05  #AEBAC6     #E3E9EF  #27313C  #8FA1B3  #F5F9FC  #58B4FF  bars      round
    lemon      0.09  #3D5A80     #EE6C4D  #FFE79A  #3D5A80  #22304A  #EE6C4D  dots      bar
    plum       0.11  #D9C6EA     #7B5EA7  #FBF7FF  #7B5EA7  #33214F  #F29E4C  quarters  round
    forest     0.06  #D8D3BF     #A3B18A  #2F4A3C  #C7D1AE  #F8F4E1  #E98A5B  minutes   leaf
    rose       0.08  #7A3148     #F2C1CC  #FFF3F4  #C25B78  #541C31  #C25B78  bars      leaf
    sky        0.07  #FFE0A3     #FFFFFF  #1F6FA8  #CFE8F7  #FFFFFF  #FFC24B  dots      taper
""")


@dataclass(frozen=True)
class ClockStyle:
    """The look of one clock: theme, rotation, shift, radius and thickness of hands.

    Arguments:
        theme: The design of the clock.
        rotation: Angle by which the whole clock is turned, in radians clockwise.
        shift: Its centre minus that of the picture, as shares of the picture: (right, down).
        radius: Radius of the rim, as a share of the picture.
        thickness: Factor on the width of the hands.
    """

    theme: Theme = THEMES[0]
    rotation: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    radius: float = 0.45
    thickness: float = 1.0

    @classmethod
    def random(
        cls, rng: np.random.Generator, themes: Sequence[Theme] = THEMES, jitter: float = 1.0
    ) -> ClockStyle:
        """Draws the look of a clock: one of the themes, hung and made not quite exactly.

        Arguments:
            rng: Decides.
            themes: To choose from.
            jitter: Factor on all inexactness, in [0, 1]: at 1 up to 4 degrees askew, 2 % of the
                picture off its centre, 3 % smaller or larger, and hands 15 % thinner or thicker.
        """
        theme = themes[int(rng.integers(len(themes)))]
        askew, right, down, larger, thicker = jitter * rng.uniform(-1, 1, size=5)
        return cls(
            theme,
            rotation=math.radians(4) * askew,
            shift=(0.02 * right, 0.02 * down),
            radius=0.45 * (1 + 0.03 * larger),
            thickness=1 + 0.15 * thicker,
        )


def render_clock(minutes: float, style: ClockStyle, size: int) -> Image.Image:
    """Draws the picture of a clock that shows a time.

    Arguments:
        minutes: The time, in [0, 720).
        style: The look of the clock.
        size: Height and width of the picture, in px.

    Example:
        >>> render_clock(610, ClockStyle(), 64).size
        (64, 64)
    """
    fine = OVERSAMPLING * size
    image = _dial(style, fine).copy()
    pen = _Pen(image, style)
    pen.hand(2 * math.pi * minutes / TIME.dial, length=0.50, width=0.17)
    pen.hand(2 * math.pi * minutes / TIME.hour, length=0.80, width=0.10)
    pen.disc(0, 0, 0.075, style.theme.cap)
    return image.reduce(OVERSAMPLING)


@lru_cache(maxsize=1)  # one clock is often drawn at many times
def _dial(style: ClockStyle, pixels: int) -> Image.Image:
    """Draws the dial of a clock without hands."""
    theme = style.theme
    image = Image.new("RGB", (pixels, pixels), theme.background)
    pen = _Pen(image, style)
    pen.disc(0, 0, 1.0, theme.ring)
    pen.disc(0, 0, 1.0 - theme.rim, theme.face)
    for angle, kind in _MARKS[theme.marks]:
        pen.mark(angle, kind, theme.ticks)
    return image


class Clocks(FactorizedSource):
    """The source of synthetic analog clocks, labelled with the time they show.

    Their factors are hour, minute and theme; the jitter of single clocks is no factor.

    Arguments:
        size: Height and width of a picture, in px.
        channels: 3 for colour, 1 for grey.
        length: Number of training examples, made at once; null for endless ones, made as needed.
        themes: Number of different designs.
        jitter: How much single clocks differ from their design, from 0 (not at all) to 1.
        validation: Number of validation examples.
        test: Number of test examples.
        seed: Another seed gives other clocks.

    Raises:
        InputError: If a number is out of its range.
    """

    RANGES: ClassVar[Mapping[str, Range]] = {"size": Range(16, 1024)}

    def __init__(
        self,
        size: int = 64,
        channels: int = 3,
        length: int | None = 20_000,
        themes: int = len(THEMES),
        jitter: float = 1.0,
        validation: int = 1_000,
        test: int = 2_000,
        seed: int = 0,
    ) -> None:
        _check("The size of clocks", size, 16, 1024)
        _check("The number of channels", channels, 1, 3)
        _check("The number of themes", themes, 1, len(THEMES))
        _check("The jitter", jitter, 0, 1)
        _check("The seed", seed, 0, 2**63 - 1)
        for what, n in ("training", length), ("validation", validation), ("test", test):
            _check(f"The number of {what} clocks", 1 if n is None else n, 1, 100_000_000)
        if channels == 2:
            raise InputError("Clocks have 1 channel (grey) or 3 (colour), got 2: choose one.")
        self.size, self.channels, self.length = size, channels, length
        self.themes, self.jitter = THEMES[:themes], jitter
        self.validation, self.test, self.seed = validation, test, seed

    def load(self) -> Splits:
        # Here, for the reader of clocks draws its templates with this module.
        from smalti.synthetic.clock_measurement import ReadingOfClocks

        train, validation, test = (EndlessClocks(self, split) for split in range(3))
        return Splits(
            train=train if self.length is None else train.rendered(self.length),
            validation=validation.rendered(self.validation),
            test=test.rendered(self.test),
            signal=ImageSignal(self.channels, (self.size, self.size)),
            condition=TIME,
            augment=None,
            measurements=(ReadingOfClocks(),),
        )

    def examples(self, split: SplitName) -> Examples:
        endless = EndlessClocks(self, Splits._fields.index(split))
        n = {"train": self.length, "validation": self.validation, "test": self.test}[split]
        return endless if n is None else endless.first(n)

    @property
    def factors(self) -> dict[str, int]:
        return {"hour": TIME.dial // TIME.hour, "minute": TIME.hour, "theme": len(self.themes)}

    def values(self, split: SplitName, indices: Sequence[int]) -> Tensor:
        return EndlessClocks(self, Splits._fields.index(split)).values_at(indices)


class EndlessClocks(Examples):
    """An endless set of clocks, each drawn when it is asked for.

    Arguments:
        source: The source whose size, themes and jitter they have.
        split: Number of the split, so that splits hold different clocks.
    """

    endless = True

    def __init__(self, source: Clocks, split: int) -> None:
        self.source, self.split = source, split

    def __len__(self) -> int:
        return 1 << 40  # more than anybody will ask for

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        pixels, minutes = self._render(indices, len(indices))
        return Batch(to_float(pixels), minutes)

    def conditions_at(self, indices: Sequence[int]) -> Tensor:
        return torch.tensor([self._draw(i)[0] for i in indices], dtype=TIME.dtype)

    def values_at(self, indices: Sequence[int]) -> Tensor:
        """Returns hour, minute and number of the theme, (B, 3), int64, each from 0."""
        rows = []
        for i in indices:
            minutes, rng = self._draw(i)
            style = ClockStyle.random(rng, self.source.themes, self.source.jitter)
            rows.append((*divmod(minutes, TIME.hour), self.source.themes.index(style.theme)))
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)

    def rendered(self, n: int) -> Pixels:
        """Draws the first n clocks at once."""
        size, channels = self.source.size, self.source.channels
        check_memory(
            n * size**2 * channels, f"A set of {n:,} clocks", "make it smaller, or endless"
        )
        return Pixels(*self._render(progress(range(n), n, "drawing clocks"), n))

    def _render(self, indices: Iterable[int], n: int) -> tuple[Tensor, Tensor]:
        """Draws n clocks: pixels (n, C, H, W), uint8, and times (n,)."""
        size, mode = self.source.size, "L" if self.source.channels == 1 else "RGB"
        pixels = np.empty((n, size, size, self.source.channels), dtype=np.uint8)
        times = torch.empty(n, dtype=TIME.dtype)
        for row, i in enumerate(indices):
            minutes, rng = self._draw(i)
            style = ClockStyle.random(rng, self.source.themes, self.source.jitter)
            image = render_clock(minutes, style, size).convert(mode)
            pixels[row], times[row] = np.asarray(image).reshape(pixels[row].shape), minutes
        return rearrange(torch.from_numpy(pixels), "n h w c -> n c h w").contiguous(), times

    def _draw(self, index: int) -> tuple[int, np.random.Generator]:
        """Draws the time of a clock, and the generator that decides on its look."""
        rng = np.random.default_rng((self.source.seed, self.split, index))
        return int(rng.integers(TIME.dial)), rng


def _marks(large: str, small: str | None, between: str | None) -> list[tuple[float, str]]:
    """Angles and kinds of the marks: at 12, 3, 6 and 9, at other hours, and between them."""
    kinds = [large if i % 15 == 0 else small if i % 5 == 0 else between for i in range(TIME.hour)]
    return [(2 * math.pi * i / TIME.hour, kind) for i, kind in enumerate(kinds) if kind]


_MARKS = {
    "bars": _marks("long", "short", None),
    "dots": _marks("large dot", "dot", None),
    "quarters": _marks("long", None, None),
    "minutes": _marks("long", "short", "fine"),
}
_MARK_SIZES = {  # (length, width); a dot has no length
    "long": (0.15, 0.06),
    "short": (0.09, 0.035),
    "fine": (0.04, 0.015),
    "large dot": (0.0, 0.11),
    "dot": (0.0, 0.065),
}


class _Pen:
    """Draws on a dial of radius 1, with angles clockwise from the top, wherever the clock hangs."""

    def __init__(self, image: Image.Image, style: ClockStyle) -> None:
        self.draw, self.style = ImageDraw.Draw(image), style
        self.unit = style.radius * image.width
        self.x, self.y = ((0.5 + offset) * image.width - 0.5 for offset in style.shift)
        self.inner = 1 - style.theme.rim

    def disc(self, angle: float, distance: float, radius: float, colour: str) -> None:
        ((x, y),), r = self._at(angle, [(distance, 0.0)]), radius * self.unit
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def mark(self, angle: float, kind: str, colour: str) -> None:
        """Draws the mark of an hour or a minute: a line, or a dot."""
        length, width = _MARK_SIZES[kind]
        outer = self.inner - 0.03
        if length:
            self._polygon(angle, [(outer - length, width / 2), (outer, width / 2)], colour)
        else:
            self.disc(angle, outer - 0.06, width / 2, colour)

    def hand(self, angle: float, length: float, width: float) -> None:
        """Draws a hand in the shape of the theme."""
        colour, w = self.style.theme.hands, width * self.style.thickness / 2
        outline = {  # (distance from the pivot, half the width there)
            "bar": [(-0.14, w), (length, w)],
            "round": [(-0.10, w), (length, w)],
            "taper": [(-0.14, 1.25 * w), (length, 0.7 * w)],
            "leaf": [(-0.14, 0.6 * w), (0.55 * length, 1.35 * w), (length, 0.4 * w)],
        }[self.style.theme.shape]
        self._polygon(angle, outline, colour)
        if self.style.theme.shape == "round":
            self.disc(angle, length, w, colour)
            self.disc(angle, -0.10, w, colour)

    def _polygon(self, angle: float, outline: list[tuple[float, float]], colour: str) -> None:
        """Fills between a chain of (distance, half the width) and its mirror image."""
        mirrored = [(distance, -half) for distance, half in reversed(outline)]
        self.draw.polygon(self._at(angle, outline + mirrored), fill=colour)

    def _at(self, angle: float, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        """Returns the pixels (x, y) of points (distance along `angle`, distance to its right)."""
        s = self.unit * math.sin(angle + self.style.rotation)
        c = self.unit * math.cos(angle + self.style.rotation)
        x, y = self.x, self.y
        return [(x + along * s + aside * c, y - along * c + aside * s) for along, aside in points]


def _check(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"{what} is from {low} to {high}, got {value}: choose one in this range.")
