"""The base class of training stages, and the settings of a training.

A stage is a LightningModule around a plain model. Everything random in a step is drawn after the
generators were seeded with (seed, step, process), and the batch itself is a function of the same
(`batches`): so a run that was interrupted goes on as if it had not been, and no generator's state
needs saving.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from smalti.checksums import current_checksums
from smalti.errors import InputError
from smalti.model_folder import FORMAT
from smalti.training.batch_order import StepSampler, evaluation_loader, training_loader
from smalti.training.schedules import Constant, Schedule

__all__ = ["Stage", "Training"]


@dataclass(frozen=True)
class Training:
    """Settings of the training of one stage: steps, batches, optimizer, schedule.

    Arguments:
        steps: Optimizer steps.
        batch_size: Examples per batch and process.
        optimizer: Any optimizer of torch; the learning rate is its own.
        schedule: Schedule of the learning rate; constant if not given.
        clip: Largest norm of the gradient; none for no clipping.
        accumulate: Batches whose gradients make one optimizer step.
        weight_ema: Decay of an exponential moving average of the weights, which is then the
            result.
        validate_every: Optimizer steps between validations, at most; fewer where that puts one at
            the end.
        save_every: Optimizer steps between saved states, from which an interrupted run goes on.
        keep_best: Whether the result is the state of the lowest validation loss, not the last.
        patience: Validations in a row without a loss below the lowest, after which the training
            ends before its last step; none to take all steps.
        adversary_optimizer: Optimizer of the objective's adversary, if it has one; like
            `optimizer` if not given.
    """

    steps: int
    batch_size: int = 128
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = torch.optim.Adam
    schedule: Schedule | None = None
    clip: float | None = None
    accumulate: int = 1
    weight_ema: float | None = None
    validate_every: int = 500
    save_every: int = 250
    keep_best: bool = False
    patience: int | None = None
    adversary_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None

    def __post_init__(self) -> None:
        for name, least in {
            "steps": 1,
            "batch_size": 1,
            "accumulate": 1,
            "validate_every": 2,
            "save_every": 1,
        }.items():
            if getattr(self, name) < least:
                raise InputError(
                    f"{name} of a training must be at least {least}, got {getattr(self, name)}."
                )
        if self.patience is not None and self.patience < 1:
            raise InputError(
                f"patience of a training is at least 1 validation, got {self.patience}: null takes "
                f"all steps."
            )
        if self.weight_ema is not None and not 0 < self.weight_ema < 1:
            raise InputError(f"weight_ema lies between 0 and 1, got {self.weight_ema}: try 0.999.")

    @property
    def validation_interval(self) -> int:
        """Returns the steps between validations, such that the last ones are validated too.

        Example:
            >>> Training(steps=1800, validate_every=500).validation_interval
            450
        """
        validations = -(-self.steps // self.validate_every)
        return max(self.steps // validations, 2)


class Stage(LightningModule):
    """Abstract: the training of one model on its data, as a module of Lightning.

    Arguments:
        model: The model that is trained.
        training: The settings of its training.
        train: Examples to train on.
        validation: Examples to validate on.
        seed: Seed of the order of the examples and of all random draws in a step.
        workers: Processes that fetch the batches; 0 for none.

    Attributes:
        name: Name of the stage, e.g. "prior-1".
        made_from: Checksums of the inputs that the model is made from (`smalti.checksums`): they
            are part of its saved states, and a state of something else is refused.
    """

    def __init__(
        self,
        model: nn.Module,
        training: Training,
        train: Dataset,
        validation: Dataset,
        *,
        seed: int,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.training_options = model, training
        self.train_set, self.validation_set = train, validation
        self.seed, self.workers = seed, workers
        self.name, self.made_from = "", dict[str, tuple[str, ...]]()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Notes in a saved state of which format it is, and what it belongs to."""
        checkpoint["format"] = FORMAT
        checkpoint["made_from"] = {"stage": self.name, **current_checksums(self.made_from)}

    @abstractmethod
    def objective(self, batch: Any) -> dict[str, Tensor]:
        """Returns the scalars of a batch; "loss" is what is minimised, the others are logged beside
        it.
        """

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Returns the loss of one batch, and logs its terms."""
        terms = self.objective(batch)
        self.last_terms = {name: value.detach() for name, value in terms.items()}
        if (self.trainer.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.log_dict({f"train/{name}": value for name, value in terms.items()})
        return terms["loss"]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Adds one batch to the loss of the validation."""
        terms = self.objective(batch)
        self.validation_losses.append(terms["loss"])
        self.log_dict(
            {f"validation/{name}": value for name, value in terms.items()},
            sync_dist=True,
            batch_size=1,
        )

    def on_validation_epoch_start(self) -> None:
        """Empties what `validation_loss` averages."""
        self.validation_losses: list[Tensor] = []

    def validation_loss(self) -> float:
        """Returns the mean loss of the validation that just ran, over all processes."""
        mean = torch.stack(self.validation_losses).mean()
        return float(self.trainer.strategy.reduce(mean, reduce_op="mean"))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seeds everything that this batch will draw."""
        seed = ((self.seed * 1_000_003 + batch_idx) * 4_099 + self.global_rank) % 2**63
        if self.device.type == "cpu":  # a tenth of the time, for it looks for no other device
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Takes one optimizer step, then calls the hook `after_step`."""
        super().optimizer_step(*args, **kwargs)
        self.after_step()

    def after_step(self) -> None:
        """Is called after each optimizer step; does nothing by default."""

    def optimizer(self) -> Optimizer:
        """Builds the optimizer of what is learned."""
        learned = [p for p in self.model.parameters() if p.requires_grad]
        return self.training_options.optimizer(learned)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Returns the optimizer with its schedule."""
        options, optimizer = self.training_options, self.optimizer()
        schedule = (options.schedule or Constant()).configure(
            optimizer, options.steps, options.validation_interval * options.accumulate
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}  # type: ignore[typeddict-item]

    def train_dataloader(self) -> DataLoader:
        """Batches from the one that follows the last optimizer step on."""
        options = self.training_options
        endless = getattr(self.train_set, "endless", False)
        sampler = StepSampler(
            None if endless else len(self.train_set),  # type: ignore[arg-type]
            options.batch_size,
            self.seed,
            start=self.trainer.global_step * options.accumulate,
            rank=self.global_rank,
            world=self.trainer.world_size,
        )
        return training_loader(self.train_set, sampler, self.workers)

    def val_dataloader(self) -> DataLoader:
        """Returns a loader of the whole validation set."""
        return evaluation_loader(self.validation_set, self.training_options.batch_size)
