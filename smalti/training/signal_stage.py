"""Training on signals: what the stages of all autoencoders share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from smalti.autoencoders import ContinuousAutoencoder, Tokenizer
from smalti.data import Batch
from smalti.training.stage import Stage, Training

__all__ = ["SignalStage"]


Model = TypeVar("Model", bound=Tokenizer | ContinuousAutoencoder)
Objective = TypeVar("Objective")


class SignalStage(Stage, Generic[Model, Objective]):
    """Abstract: a model of signals, trained on batches that may be changed at random.

    Arguments:
        objective: The loss.
        augment: Random changes of a training batch (B, C, *size).
        Others: see `Stage`.
    """

    model: Model

    def __init__(
        self,
        model: Model,
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

    def signals(self, batch: Batch) -> Tensor:
        """x (B, C, *size) of a batch, changed at random in training."""
        return self.augment(batch.x) if self.augment and self.training else batch.x

    def step_or(self, warmup: int) -> int:
        """The optimizer step that weights depend on; in validation that at which the warm-up ends.

        Validations before and after the warm-up must be comparable.
        """
        return self.trainer.global_step if self.training else warmup

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Only the signal is used."""
        return batch._replace(x=batch.x.to(device, non_blocking=True), condition=None)
