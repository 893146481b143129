"""Fits the quantizer of a tokenizer to all training examples, without gradients.

What a `Fitting` computes codewords from are the outputs of the encoder, made anew in each pass, so
that the examples need not fit in memory. After each of its stages the codewords are saved, and a
fit that was killed goes on from there as if it had not been.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from smalti.autoencoders import DiscreteAutoencoder
from smalti.checksums import check_made_from, current_checksums
from smalti.data import Examples
from smalti.files import write_text
from smalti.model_folder import FORMAT
from smalti.quantizers.fitting import Fitting, Rows
from smalti.quantizers.fitting.rows import rows_at_once
from smalti.training.cpu import speed_up_cpu
from smalti.training.durations import format_duration
from smalti.training.hardware import Hardware
from smalti.training.launching import run_in_all_processes
from smalti.training.processes import is_first
from smalti.training.saved_states import read_verified, write_sealed

__all__ = ["EncodedRows", "fit_quantizer"]

PARTS = {"state_dict", "stages", "seconds", "made_from"}
PIECE = 8192  # vectors that are encoded at a time where some are asked for
SECONDS = 15.0  # between two lines that say how far it is


class EncodedRows(Rows):
    """The encoder's vectors of all examples, (N · positions, D), computed when they are needed.

    Arguments:
        tokenizer: The tokenizer whose encoder is used.
        examples: The N examples.
        device: The device of the encoder.
    """

    def __init__(
        self, tokenizer: DiscreteAutoencoder, examples: Examples, device: torch.device
    ) -> None:
        self.tokenizer, self.examples, self.device = tokenizer, examples, device
        self.dim, self.positions = tokenizer.quantizer.dim, math.prod(tokenizer.grid)

    def __len__(self) -> int:
        return len(self.examples) * self.positions

    def chunks(self, size: int | None = None, first: int = 0, step: int = 1) -> Iterator[Tensor]:
        """See `Rows.chunks`; the rows of one example are never in two chunks."""
        size = size or rows_at_once(self.dim)
        many, n = max(size // self.positions, 1), len(self.examples)
        for start in range(first * many, n, step * many):
            yield self._encoded(range(start, min(start + many, n)))

    def at(self, indices: Tensor) -> Tensor:
        """See `Rows.at`."""
        examples, rows = (indices // self.positions).unique(return_inverse=True)
        places, many = indices % self.positions, max(PIECE // self.positions, 1)
        found = torch.empty(len(indices), self.dim, device=self.device)
        for start in range(0, len(examples), many):  # the whole is held once
            part = self._encoded(examples[start : start + many].tolist())
            mine = ((rows >= start) & (rows < start + many)).nonzero()[:, 0]
            here = (rows[mine] - start) * self.positions + places[mine]
            found[mine.to(self.device)] = part[here.to(self.device)]
        return found

    @torch.no_grad()
    def _encoded(self, numbers: range | list[int]) -> Tensor:
        x = self.examples.__getitems__(numbers).x.to(self.device)
        return self.tokenizer.vectors(x).float().flatten(0, -2)


def fit_quantizer(
    model: DiscreteAutoencoder,
    fitting: Fitting,
    examples: Examples,
    run: Path,
    *,
    name: str,
    seed: int,
    hardware: Hardware,
    made_from: Mapping[str, tuple[str, ...]],
) -> None:
    """Fits the quantizer of a tokenizer without gradients, from the saved state if there is one.

    Arguments:
        model: The tokenizer, which is on the CPU and in evaluation mode afterwards.
        fitting: The method.
        examples: The training examples.
        run: The run directory.
        name: Name of the stage: the state is kept in `run/state/name.ckpt`, the seconds that it
            took in `run/logs/name`.
        seed: Seed of all random draws.
        hardware: The devices.
        made_from: Checksums of the inputs that the model is made from (`smalti.checksums`).

    Raises:
        InputError: If there is no such hardware, or the saved state is damaged or another's.
    """
    speed_up_cpu()
    state = _State(run / "state" / f"{name}.ckpt", model, {"stage": (name,), **made_from})

    def fit(device: torch.device) -> None:
        stages = state.restore()
        model.to(device).eval()
        progress, log = _Lines(), _Log(run / "logs" / name / "csv")
        start = time.monotonic() - state.seconds

        def done(stages: int) -> None:
            state.seconds = time.monotonic() - start
            if is_first():
                state.save(stages)
                log.add(stages - 1, state.seconds)

        rows = EncodedRows(model, examples, device)
        fitting.fit(
            model.quantizer, rows, seed=seed, progress=progress.tell, first=stages, done=done
        )
        progress.end(state.seconds)

    run_in_all_processes(fit, hardware)
    model.cpu()


class _State:
    """The saved state of a fit.

    Arguments:
        path: Path of the file.
        model: What is fitted.
        made_from: Checksums of what the fit is made from, by name, and the name of the stage.

    Attributes:
        seconds: That it took so far, over all starts.
    """

    def __init__(
        self, path: Path, model: DiscreteAutoencoder, made_from: Mapping[str, tuple[str, ...]]
    ) -> None:
        self.path, self.model, self.made_from = path, model, dict(made_from)
        self.seconds = 0.0

    def restore(self) -> int:
        """Takes the codewords of the state, if there is one; returns how many stages are done."""
        if not self.path.exists():
            return 0
        quantizer = self.model.quantizer
        there = read_verified(self.path, PARTS, quantizer.state_dict())
        mend = "delete it, which starts the fit over, or choose another --out."
        check_made_from(str(self.path), there["made_from"], self.made_from, mend)
        quantizer.load_state_dict(there["state_dict"])
        self.seconds = there["seconds"]
        return there["stages"]

    def save(self, stages: int) -> None:
        """Saves the codewords after so many stages."""
        state = {name: t.detach().cpu() for name, t in self.model.quantizer.state_dict().items()}
        content = {"state_dict": state, "stages": stages, "seconds": self.seconds}
        content |= {"format": FORMAT, "made_from": current_checksums(self.made_from)}
        write_sealed(content, self.path)


class _Log:
    """The seconds after each stage, in a file such as Lightning writes.

    Arguments:
        folder: Each start writes to a new version in it: what an earlier one wrote stays.
    """

    def __init__(self, folder: Path) -> None:
        there = (path.name.removeprefix("version_") for path in folder.glob("version_*"))
        number = max((int(name) + 1 for name in there if name.isdecimal()), default=0)
        self.path, self.lines = folder / f"version_{number}" / "metrics.csv", ["step,train/seconds"]

    def add(self, step: int, seconds: float) -> None:
        """Adds a line to the file."""
        self.lines.append(f"{step},{seconds!r}")
        write_text(self.path, "\n".join(self.lines) + "\n")


class _Lines:
    """A bar with the time left on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self.start = self.told = time.monotonic()
        self.first: float | None = None  # the share that was done when it was first told of
        shown = is_first() and sys.stderr.isatty()
        self.bar = tqdm(
            total=1.0, desc="tokenizer", disable=not shown, bar_format="{l_bar}{bar}| {postfix}"
        )

    def tell(self, share: float, words: str) -> None:
        """Says how far it is, when it is time."""
        now = time.monotonic()
        if self.first is None:
            self.first, self.start = share, now
        rate = (share - self.first) / (now - self.start) if share > self.first else 0.0
        left = f", {format_duration((1 - share) / rate)} left" if rate else ""
        if not self.bar.disable:
            self.bar.set_postfix_str(f"{words}{left}", refresh=False)
            self.bar.update(share - self.bar.n)
        elif is_first() and now - self.told > SECONDS:
            self.told = now
            print(f"tokenizer: {words}{left}", file=sys.stderr, flush=True)

    def end(self, seconds: float) -> None:
        """Says how long it took."""
        self.bar.close()
        if self.bar.disable and is_first():
            print(f"tokenizer: fitted, {seconds:.0f} s", file=sys.stderr, flush=True)
