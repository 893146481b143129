"""The training stage of a contrastive network of signals and captions."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from smalti.data import Batch
from smalti.networks import ContrastiveNetwork, contrastive_loss
from smalti.training.contrastive import Shift, augmented_contrastive_loss
from smalti.training.settings import Training
from smalti.training.stage import Stage

__all__ = ["ContrastiveStage"]


class ContrastiveStage(Stage):
    """Trains a `ContrastiveNetwork` on pairs of a signal and its caption.

    Arguments:
        shift: Shifts each signal of a batch by at most a share of its size; None for no shift.
        Others: see `Stage`.
    """

    model: ContrastiveNetwork

    def __init__(
        self,
        model: ContrastiveNetwork,
        training: Training,
        train: Dataset,
        validation: Dataset,
        *,
        seed: int,
        workers: int = 0,
        shift: Shift | None = None,
    ) -> None:
        super().__init__(model, training, train, validation, seed=seed, workers=workers)
        self.shift = shift

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """See `Stage.objective`."""
        assert batch.condition is not None
        if not self.training:
            return {"loss": contrastive_loss(self.model(*batch), batch.condition)}
        return {"loss": augmented_contrastive_loss(self.model, batch, self.shift)}

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Moves signals and captions to the device."""
        return Batch(*(part.to(device, non_blocking=True) for part in batch))
