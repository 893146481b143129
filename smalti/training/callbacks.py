"""Callbacks of Lightning: saved states, the best state, early stopping, progress."""

from __future__ import annotations

import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint
from torch import Tensor
from tqdm import tqdm

from smalti.counting import counted
from smalti.training.divergence import DivergenceCheck
from smalti.training.durations import HOUR, format_duration
from smalti.training.stage import Stage

__all__ = ["KeepBest", "Patience", "Progress", "SaveState", "Stopwatch"]

FIRST = 20  # steps, after which the time left is known well enough to say that it is long


class SaveState(Checkpoint):
    """Saves the state of training every `every` optimizer steps to one file.

    A subclass of Lightning's `Checkpoint`, because Lightning calls those after all other callbacks:
    the state then holds what the others did at this step.

    Arguments:
        path: Path of the file.
        every: Optimizer steps between two states.
        validate_every: Optimizer steps between two validations, at least 2. A step that a
            validation follows is passed over for the next one, because Lightning resumes behind
            that validation, and it would be lost.
        watch: The check of divergence, asked before each save, so that a state with weights that
            are not finite never replaces a good one.
    """

    def __init__(self, path: Path, every: int, validate_every: int, watch: DivergenceCheck) -> None:
        self.path, self.every, self.validate_every = path, every, validate_every
        self.watch = watch

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts from the step that is resumed from."""
        self._saved = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Saves when an optimizer step has just been taken and it is time."""
        step = trainer.global_step
        if step // self.every > self._saved // self.every and step % self.validate_every:
            self._saved = step
            self.watch.check_weights(trainer, pl_module)
            trainer.save_checkpoint(self.path)


class KeepBest(Callback):
    """Keeps a copy of the model at its lowest validation loss; the copy is part of the saved state.

    It must come before an averaging of weights among the callbacks: then it sees the averaged ones,
    which are those that were validated.
    """

    def __init__(self) -> None:
        self.loss = float("inf")
        self.weights: dict[str, Tensor] = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compares the validation that just ran with the best."""
        if trainer.sanity_checking or not isinstance(pl_module, Stage):
            return
        loss = pl_module.validation_loss()
        if loss < self.loss:
            state = pl_module.model.state_dict()
            self.loss = loss
            self.weights = {name: t.detach().cpu().clone() for name, t in state.items()}

    def state_dict(self) -> dict[str, Any]:
        """Returns its part of the saved state."""
        return {"loss": self.loss, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores its part of the saved state."""
        self.loss, self.weights = state_dict["loss"], deepcopy(state_dict["weights"])


class Patience(Callback):
    """Stops a training early, when so many validations in a row had no loss below the lowest.

    Arguments:
        patience: The number of validations; None to never stop early.
    """

    def __init__(self, patience: int | None) -> None:
        self.patience = patience
        self.loss, self.step, self.waited = float("inf"), 0, 0

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compares the validation that just ran with the best."""
        if trainer.sanity_checking or not isinstance(pl_module, Stage):
            return
        loss = pl_module.validation_loss()
        if loss < self.loss:
            self.loss, self.step, self.waited = loss, trainer.global_step, 0
        else:
            self.waited += 1
        if self.patience is not None and self.waited >= self.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Returns its part of the saved state."""
        return {"loss": self.loss, "step": self.step, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores its part of the saved state."""
        self.loss, self.step = state_dict["loss"], state_dict["step"]
        self.waited = state_dict["waited"]


class Stopwatch(Callback):
    """Logs the seconds of training so far, over all resumptions, as `train/seconds`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Goes on from the seconds of the saved state."""
        self._start = time.monotonic() - self.seconds

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Takes the time."""
        self.seconds = time.monotonic() - self._start
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            pl_module.log("train/seconds", self.seconds)

    def state_dict(self) -> dict[str, Any]:
        """Returns its part of the saved state."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores its part of the saved state."""
        self.seconds = state_dict["seconds"]


class Progress(Callback):
    """Shows the progress of a training: a bar on a terminal, plain lines elsewhere.

    Arguments:
        name: Name of the stage.
        patience: The callback that knows why a training ended early.
        seconds: Seconds between two plain lines.
    """

    def __init__(self, name: str, patience: Patience, seconds: float = 15.0) -> None:
        self.name, self.patience, self.seconds = name, patience, seconds

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins to count the seconds."""
        self._first, self._start = trainer.global_step, time.monotonic()
        self._told = self._start
        self._bar = tqdm(
            total=trainer.max_steps,
            initial=trainer.global_step,
            desc=self.name,
            disable=not (trainer.is_global_zero and sys.stderr.isatty()),
            dynamic_ncols=True,
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Moves the bar, or says a line when it is time."""
        if not self._bar.disable:
            self._bar.update(trainer.global_step - self._bar.n)
            if trainer.global_step % 20 == 0:
                self._bar.set_postfix(loss=f"{outputs['loss'].item():.4f}", refresh=False)
        elif trainer.is_global_zero and (
            time.monotonic() - self._told > self.seconds or self._turns_out_long(trainer)
        ):
            self._told = time.monotonic()
            self._print_progress(trainer.global_step, trainer.max_steps, outputs["loss"].item())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Closes the bar."""
        self._bar.close()
        if self._bar.disable and trainer.is_global_zero:
            taken = time.monotonic() - self._start
            early = "" if trainer.global_step >= trainer.max_steps else f" of {trainer.max_steps}"
            whole = counted(trainer.global_step, "step")
            done = f"{trainer.global_step}{early} steps" if early else whole
            best = f", validation was best at step {self.patience.step}" if early else ""
            print(
                f"{self.name}: {done} done, {taken:.0f} s{best}",
                file=sys.stderr,
            )

    def on_exception(self, trainer: Trainer, *_: Any) -> None:
        """Closes the bar, so that what is said next has a line of its own."""
        if hasattr(self, "_bar"):
            self._bar.close()

    def _turns_out_long(self, trainer: Trainer) -> bool:
        """Prints an estimate at once if the first steps show that the training takes hours."""
        done = trainer.global_step - self._first
        if done != FIRST or self._told > self._start:
            return False
        taken = time.monotonic() - self._start
        return taken / done * (trainer.max_steps - trainer.global_step) > HOUR

    def _print_progress(self, step: int, steps: int, loss: float) -> None:
        """Prints step, loss, speed and time left to standard error."""
        rate = (step - self._first) / (time.monotonic() - self._start)
        left = (steps - step) / rate if rate else float("inf")
        print(
            f"{self.name}: step {step}/{steps}, loss {loss:.4f}, {rate:.1f} steps/s, "
            f"{format_duration(left)} left",
            file=sys.stderr,
            flush=True,
        )
