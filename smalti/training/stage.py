"""The base class of training stages.

A stage is a LightningModule around a plain model. Everything random in a step is drawn after the
generators were seeded with (seed, step, process), and the batch itself is a function of the same
(`batches`): so a run that was interrupted goes on as if it had not been, and no generator's state
needs saving.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from smalti.checksums import current_checksums
from smalti.model_folder import FORMAT
from smalti.training.batch_order import StepSampler, evaluation_loader, training_loader
from smalti.training.schedules import Constant
from smalti.training.settings import Training

__all__ = ["Stage"]


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
            versions=getattr(self.train_set, "varies", False),
        )
        return training_loader(self.train_set, sampler, self.workers)

    def val_dataloader(self) -> DataLoader:
        """Returns a loader of the whole validation set."""
        return evaluation_loader(self.validation_set, self.training_options.batch_size)
