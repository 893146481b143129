"""Stops a training that diverges at once; its last good state stays.

Watched are the loss of every step, the loss of every validation, and the weights before anything is
saved. A loss that is not finite ends the training, and so does one that stays a million times as
large as that of the first step; at a thousand times there is a warning. Where looking at a number
makes the device wait, as on a GPU, or where several processes must agree, only every fiftieth loss
is looked at: weights that are not finite never become finite again.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from smalti.errors import InputError
from smalti.training.stage import Stage
from smalti.weights import first_not_finite

__all__ = ["Diverged", "DivergenceCheck"]

EVERY = 50  # steps between two looks at the loss, where each look costs something
EXPLODED, FOR = 1e6, 20  # times the first loss, looks in a row: it will not come back
LARGE, LONG = 1e3, 100  # worth a warning


class Diverged(InputError):
    """The error of a training whose loss or weights are no longer finite, or explode."""


class DivergenceCheck(Callback):
    """Raises `Diverged` when a training has diverged. It must be the first of the callbacks.

    Arguments:
        name: Name of the stage.
        state: The path of its saved state.
    """

    def __init__(self, name: str, state: Path) -> None:
        self.name, self.state = name, state
        self.first: float | None = None
        self.exploded = self.large = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decides how often the loss is looked at: every step where that costs nothing."""
        alone = trainer.world_size == 1
        self._every = 1 if alone and pl_module.device.type == "cpu" else EVERY

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Checks the loss of a step."""
        if self.first is None or batch_idx % self._every == 0:
            self._check_loss(outputs["loss"].item(), trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks the loss of a validation."""
        if isinstance(pl_module, Stage) and not math.isfinite(loss := pl_module.validation_loss()):
            raise self.diverged(f"the validation loss is {loss}", trainer)

    def check_weights(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks all weights.

        Raises:
            Diverged: If one is not finite.
        """
        assert isinstance(pl_module, Stage)
        name = first_not_finite(pl_module.state_dict())
        name = None if name is None else name.removeprefix("model.")
        if not _all(trainer, name is None):
            raise self.diverged(f"weights are not finite ({name or 'elsewhere'})", trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks the weights once more: no step follows the last ones."""
        if self.exploded:
            raise self.diverged("the loss has exploded", trainer)
        self.check_weights(trainer, pl_module)

    def diverged(self, what: str, trainer: Trainer) -> Diverged:
        """Returns the error, with what to try."""
        kept = f"; the last good state is kept in {self.state}" if self.state.exists() else ""
        return Diverged(
            f"The training of the {self.name} has diverged, at step {max(trainer.global_step, 1)} "
            f"{what}{kept}: try a lower learning rate (training.optimizer.lr), training.clip 1 or "
            f"smaller weights of the loss, with another --out, or --hardware.precision 32-true."
        )

    def _check_loss(self, loss: float, trainer: Trainer, stage: LightningModule) -> None:
        """Warns when the loss is large for long.

        Raises:
            Diverged: If it is not finite, or above `EXPLODED` times the first for long.
        """
        if not _all(trainer, math.isfinite(loss)):
            raise self.diverged(f"the loss is {loss}{_guilty(stage)}", trainer)
        if self.first is None:
            self.first = abs(loss)
        unit = max(1.0, self.first)
        self.exploded = self.exploded + 1 if abs(loss) > EXPLODED * unit else 0
        self.large = self.large + 1 if abs(loss) > LARGE * unit else 0
        if not _all(trainer, self.exploded < FOR):
            raise self.diverged(f"the loss has been above {EXPLODED * unit:.0e} for long", trainer)
        if self.large == LONG and trainer.is_global_zero:
            print(
                f"{self.name}: the loss is {loss:.3g}, it was {self.first:.3g} at first: this "
                f"training may be diverging, a lower learning rate or training.clip 1 may help",
                file=sys.stderr,
                flush=True,
            )

    def state_dict(self) -> dict[str, Any]:
        """Returns what the training's state holds of the check: first loss and counts."""
        return {"first": self.first, "exploded": self.exploded, "large": self.large}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.first = state_dict["first"]
        self.exploded, self.large = state_dict["exploded"], state_dict["large"]


def _all(trainer: Trainer, good: bool) -> bool:
    """Returns whether `good` is true in all processes, so that all of them do the same."""
    if trainer.world_size == 1:
        return good
    return bool(trainer.strategy.reduce_boolean_decision(good, all=True))


def _guilty(stage: LightningModule) -> str:
    """Names the terms of the loss that are not finite."""
    terms = getattr(stage, "last_terms", {})
    names = [
        name for name, value in terms.items() if name != "loss" and not torch.isfinite(value).all()
    ]
    return f" (its terms {', '.join(names)})" if names else ""
