"""The training stage of an autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from smalti.autoencoders import Autoencoder
from smalti.data import Batch
from smalti.quantizers import silence_reminders
from smalti.training.adversary import Adversary
from smalti.training.objectives import Objective
from smalti.training.settings import Training
from smalti.training.stage import Stage

__all__ = ["AutoencoderStage"]


class AutoencoderStage(Stage):
    """Trains an `Autoencoder`, and the adversary of its objective if there is one.

    After each optimizer step it calls `update`, by which codebooks learn without gradients: EMA,
    k-means start and resets of dead codewords.

    Arguments:
        objective: The objective, which computes the loss.
        augment: Random changes of a training batch (B, C, *size).
        Others: see `Stage`.
    """

    model: Autoencoder

    def __init__(
        self,
        model: Autoencoder,
        training: Training,
        train: Dataset,
        validation: Dataset,
        *,
        seed: int,
        objective: Objective,
        augment: Callable[[Tensor], Tensor] | None = None,
        workers: int = 0,
    ) -> None:
        if model.signal.spatial_dims == 2:
            # Convolutions are up to twice as fast, and vectors lie together for the quantizer.
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(model, training, train, validation, seed=seed, workers=workers)
        self.terms, self.augment = objective, augment
        self.adversary = Adversary(objective, training.adversary_optimizer or training.optimizer)

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """See `Stage.objective`."""
        if not self.training:
            x = self.model.normalize(batch.x)
            return self.terms(x, self.model(x), self.terms.warmup)
        x = self.model.normalize(self.augment(batch.x) if self.augment else batch.x)
        output, step = self.model(x), self.trainer.global_step
        terms = self.terms(x, output, step)
        share = 1 / self.training_options.accumulate
        return {**terms, **self.adversary.teach(x, output, step, share)}

    def on_fit_start(self) -> None:
        """Says that updates will come, however many batches make one optimizer step."""
        silence_reminders(self.model)
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        self.adversary.start(self.device if scaled else None)

    def after_step(self) -> None:
        """Updates the codebooks, and takes the adversary's step."""
        self.model.update()
        (group, *_) = self.trainer.optimizers[0].param_groups
        full = group.get("initial_lr", self.trainer.optimizers[0].defaults["lr"])
        factor = group["lr"] / full if full else 1.0
        self.adversary.step(factor, self.training_options.clip, self.trainer.world_size)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the state of the adversary's optimizer to what `Stage` saves."""
        super().on_save_checkpoint(checkpoint)
        if (state := self.adversary.state_dict()) is not None:
            checkpoint["adversary"] = state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the state of the adversary's optimizer from a saved state."""
        self.adversary.load_state_dict(checkpoint.get("adversary"))

    def on_fit_end(self) -> None:
        """Leaves the objective as it came."""
        self.adversary.release()

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Moves the signal to the device; the condition is not used."""
        return batch._replace(x=batch.x.to(device, non_blocking=True), condition=None)
