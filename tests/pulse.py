"""Pulses, a toy kind of data: all that smalti is told of it, by an entry point and nothing else.

A pulse is a bump on a line, p(t) = 2 exp(−((t − m) / w)²) − 1 with t ∈ [0, 1]: narrow or broad.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure as Drawing
from torch import Tensor

from smalti.arguments import check_finite
from smalti.conditions import Label
from smalti.data import Examples, Source, SplitName, Splits, TensorExamples
from smalti.errors import InputError
from smalti.files import atomic_file
from smalti.modalities.base import Metric, Modality
from smalti.modalities.squared_error import SquaredError
from smalti.outputs import MARK, check_file
from smalti.registry import registered
from smalti.reporting import Block, Plot
from smalti.signals import Bounded, Signal

WIDTHS = {"narrow": 0.05, "broad": 0.2}


@registered
@dataclass(frozen=True)
class Pulse(Bounded):
    """A pulse: a batch of it has the shape (B, 1, T)."""

    noun: ClassVar[str] = "pulse"
    plural: ClassVar[str] = "pulses"
    spatial_dims: ClassVar[int] = 1


class Pulses(Source):
    """Pulses at random places.

    Arguments:
        length: T.
        n: How many to train on; half as many to watch, and to measure with.
        seed: Of what is drawn.
    """

    def __init__(self, length: int = 16, n: int = 32, seed: int = 0) -> None:
        self.length, self.n, self.seed = length, n, seed

    def load(self) -> Splits:
        parts = [self.examples(name) for name in ("train", "validation", "test")]
        return Splits(*parts, Pulse(1, (self.length,)), Label(list(WIDTHS)), None)

    def examples(self, split: SplitName) -> Examples:
        number = ("train", "validation", "test").index(split)
        generator = torch.Generator().manual_seed(3 * self.seed + number)
        n = self.n if number == 0 else self.n // 2
        labels = torch.randint(2, (n,), generator=generator)
        middle = torch.rand(n, 1, 1, generator=generator)
        width = torch.tensor([*WIDTHS.values()])[labels][:, None, None]
        t = torch.linspace(0, 1, self.length)
        return TensorExamples(2 * torch.exp(-(((t - middle) / width) ** 2)) - 1, labels)


class PulseModality(Modality):
    """Pulses as files of numbers, and as lines."""

    signal: ClassVar[type[Signal]] = Pulse
    suffixes: ClassVar[tuple[str, ...]] = (".npy",)
    shown_as: ClassVar[str] = ".png"

    def read(self, path: Any, signal: Signal, convert: bool = False, source: Any = None) -> Tensor:
        x, given = self._read(path)
        if not given.all():
            raise InputError(f"{path} has NaN, where a pulse is not given: use sample --complete.")
        signal.check(x[None])
        return x

    def from_object(self, given: Any, signal: Signal, source: Any = None) -> None:
        return None

    def read_partial(
        self,
        path: str | Path,
        signal: Signal,
        keep: str | None = None,
        convert: bool = False,
        source: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, Tensor]:
        x, given = self._read(path)
        if given.all():
            begin = torch.arange(len(given)) < len(given) // 2
            if keep not in (None, "begin", "end"):
                raise InputError(f"There is no part {keep!r}: keep begin or end.")
            given = ~begin if keep == "end" else begin
        return torch.where(given, x, -1.0), given

    def read_mask(
        self, path: Any, signal: Any, convert: bool = False, source: Any = None
    ) -> Tensor:
        return self._read(path)[0][0] > 0.5

    def write(self, x: Tensor, path: Any, overwrite: bool = False, signal: Any = None) -> None:
        check_finite(x, "A pulse")
        check_file(path, overwrite)
        with atomic_file(path) as temporary:
            np.save(temporary, x[0].cpu().numpy())

    def render(self, x: Tensor, caption: str, columns: Any = None, signal: Any = None) -> Block:
        drawing, content = Drawing(figsize=(4, 2)), io.BytesIO()
        drawing.add_subplot().plot(x[:, 0].T.cpu().numpy())
        drawing.savefig(content, format="png", metadata={"Software": MARK})
        return Plot(content.getvalue(), caption)

    def compare(self, x: Tensor, x_hat: Tensor, caption: str, signal: Any = None) -> Block:
        return self.render(torch.cat([x, x_hat]), caption)

    def describe(self, signal: Signal) -> str:
        return f"Pulses of {signal.size[0]} values, {32 * signal.size[0]} bits each"

    def metrics(self, signal: Signal) -> Sequence[Metric]:
        return [SquaredError(signal)]

    def classifier(self, signal: Signal, classes: int) -> None:
        return None

    def measurements(self) -> Sequence[Any]:
        return []

    def _read(self, path: str | Path) -> tuple[Tensor, Tensor]:
        try:
            x = torch.from_numpy(np.load(path).astype(np.float32))
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path} holds no pulse ({error}): give a .npy file.") from error
        return x.nan_to_num(nan=-1.0)[None], ~x.isnan()


SIGNAL, modality = Pulse, PulseModality


def sources() -> tuple[type[Source], ...]:
    return (Pulses,)
